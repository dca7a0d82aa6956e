"""How the variance along directions grows with the length of the window."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from landscope.directions.directions import Directions
from landscope.directions.moving import moving
from landscope.errors import InputError
from landscope.landscape.flatness import Flatness
from landscope.law.intervals import jackknife_interval
from landscope.power_law import fit_power_laws_resampled
from landscope.results import Result, stamp
from landscope.trajectory import Trajectory

__all__ = [
    "Growth", "flattest_quarter", "growing_lengths", "growth_exponents", "measure_growth", "variance_in_windows",
]  # fmt: skip

_FEWEST_ROWS = 20
_MOST_LENGTHS = 8
_FEWEST_DIRECTIONS, _FEWEST_WINDOWS = 3, 5
_NOTHING = (math.nan, math.nan)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Growth(
    Result,
    kind="window_growth",
    dims={
        "epochs": ("length",), "variance": ("length", "mode"), "width": ("mode",),
        "psi": ("length",), "psi_interval": ("length", "end"),
    },
):  # fmt: skip
    """Variance against the length of the window, along directions that were not chosen by it.

    Args:
        epochs: Lengths.
        variance: sigma_i^2 within windows of that length, mean over those that fit, ``[lengths, k]``.
        width: F_i of the directions, NaN where not within reach.
        psi: Exponent of the variance in windows of each length, sigma^2(T) ~ F^(-psi), over directions with motion and
            a flatness within reach; NaN where these are fewer than three.
        psi_interval: Its 95 % interval from leaving out each window, ``[lengths, 2]``; NaN below five windows.
        flat_exponent: Slope of ln sigma^2 on ln length, median of the flattest quarter: 0 stationary, 1 diffusion.
        sharp_exponent: The same of the sharpest quarter.
    """

    epochs: Float[Tensor, " lengths"]
    variance: Float[Tensor, "lengths k"]
    width: Float[Tensor, " k"]
    psi: Float[Tensor, " lengths"]
    psi_interval: Float[Tensor, "lengths 2"]
    flat_exponent: float
    sharp_exponent: float


def growing_lengths(rows: int) -> Float[Tensor, " n"]:
    """Lengths that double up to all rows: at most eight, none below twenty rows where all has more.

    Example:
        >>> growing_lengths(100).tolist()
        [25.0, 50.0, 100.0]
    """
    lengths = [rows >> halved for halved in range(_MOST_LENGTHS) if rows >> halved >= min(rows, _FEWEST_ROWS)]
    return torch.tensor(sorted(lengths), dtype=torch.float64)


def variance_in_windows(theta: Float[Tensor, "T k"], lengths: Float[Tensor, " n"]) -> Float[Tensor, "n k"]:
    """Mean over the windows of each length, one after another, of the variance about their own means.

    Example:
        >>> variance_in_windows(torch.tensor([[0.0], [2.0], [4.0], [6.0]]), torch.tensor([2.0, 4.0])).tolist()
        [[1.0], [5.0]]
    """
    return torch.stack([_of_each_window(theta, length).mean(dim=0) for length in lengths.long().tolist()])


def _of_each_window(theta: Float[Tensor, "T k"], length: int) -> Float[Tensor, "windows k"]:
    """The variances of the windows of one length, one after another."""
    whole = theta[: len(theta) // length * length].double()
    return whole.unflatten(0, (-1, length)).var(dim=1, correction=0)


def measure_growth(everything: Trajectory, basis: Directions, widths: Flatness, steps_per_epoch: int) -> Growth:
    """How the variance along a basis grows with the window, from one epoch to all that was recorded, and psi with it.

    Variances of windows one after another are nearly independent: in short ones the direction diffuses, and the
    variance is that of the window's own steps; in long ones it relaxed many times. So intervals leave out windows.

    Args:
        everything: All that was recorded.
        basis: Directions not chosen by variance.
        widths: Their flatness.
        steps_per_epoch: Number of minibatches in an epoch.

    Returns:
        The growth; exponents are NaN where fewer than two lengths fit.

    Raises:
        InputError: If less than one epoch was recorded.
    """
    available = len(everything) // steps_per_epoch
    if available < 1:
        raise InputError(
            expected=f"at least one epoch, {steps_per_epoch} rows", got=f"{len(everything)}", hint="Record longer."
        )
    theta = basis.project_trajectory(everything)
    lengths = [epochs for epochs in (1, 2, 5, 10, 20, 50, 100) if epochs <= available]
    rows, exponents = [], []
    for epochs in lengths:
        of_windows = _of_each_window(theta, epochs * steps_per_epoch)
        rows.append(of_windows.mean(dim=0))
        exponents.append(_psi(of_windows, widths))
    variance = torch.stack(rows)
    slope = growth_exponents(torch.tensor(lengths, dtype=torch.float64), variance)
    order = torch.argsort(torch.where(torch.isfinite(widths.width), widths.width, math.inf))
    return Growth(
        epochs=torch.tensor(lengths, dtype=torch.float64),
        variance=variance,
        width=widths.width,
        psi=torch.tensor([value for value, _ in exponents], dtype=torch.float64),
        psi_interval=torch.tensor([interval for _, interval in exponents], dtype=torch.float64),
        flat_exponent=float(slope[flattest_quarter(widths.width)].median()),
        sharp_exponent=float(slope[order[: max(1, len(order) // 4)]].median()),
        provenance=stamp(steps_per_epoch=steps_per_epoch),
    )


def growth_exponents(lengths: Float[Tensor, " n"], variance: Float[Tensor, "n k"]) -> Float[Tensor, " k"]:
    """Slope of ln sigma^2 on ln length of each direction; NaN where there are fewer than two lengths.

    Example:
        >>> growth_exponents(torch.tensor([1.0, 10.0]), torch.tensor([[1.0, 2.0], [1.0, 20.0]])).round(decimals=6)
        tensor([0., 1.], dtype=torch.float64)
    """
    if len(lengths) < 2:
        return torch.full((variance.shape[1],), math.nan, dtype=torch.float64)
    x = lengths.double().log()
    x = x - x.mean()
    return (x[:, None] * variance.double().log()).sum(dim=0) / x.square().sum()


def flattest_quarter(width: Float[Tensor, " k"]) -> Int[Tensor, " n"]:
    """Positions of the flattest quarter of directions, those without a flatness within reach among them; one at least.

    Example:
        >>> flattest_quarter(torch.tensor([1.0, 3.0, 2.0, 0.5])).tolist()
        [1]
    """
    order = torch.argsort(torch.where(torch.isfinite(width), width, math.inf))
    return order[-max(1, len(order) // 4) :]


def _psi(variances: Float[Tensor, "windows k"], widths: Flatness) -> tuple[float, tuple[float, float]]:
    """The exponent of the mean variance of some windows, and its interval by leaving out each."""
    mean = variances.mean(dim=0)
    used = moving(mean) & widths.bracketed
    if int(used.sum()) < _FEWEST_DIRECTIONS:
        return math.nan, _NOTHING
    count, width = len(variances), widths.width[used]
    psi = -float(fit_power_laws_resampled(width, mean[None, used])[0])
    if count < _FEWEST_WINDOWS:
        return psi, _NOTHING
    without = (variances.sum(dim=0) - variances)[:, used] / (count - 1)
    return psi, jackknife_interval(-fit_power_laws_resampled(width, without), psi)
