"""How the variance along directions grows with the length of the window."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.directions.directions import Directions
from landscope.errors import InputError
from landscope.landscape.flatness import Flatness
from landscope.results import Result, stamp
from landscope.trajectory import Trajectory

__all__ = ["Growth", "measure_growth"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Growth(
    Result, kind="window_growth", dims={"epochs": ("length",), "variance": ("length", "mode"), "width": ("mode",)}
):
    """Variance against the length of the window, along directions that were not chosen by it.

    Args:
        epochs: Lengths.
        variance: sigma_i^2 within windows of that length, mean over those that fit, ``[lengths, k]``.
        width: F_i of the directions, NaN where not within reach.
        flat_exponent: Slope of ln sigma^2 on ln length, median of the flattest quarter: 0 stationary, 1 diffusion.
        sharp_exponent: The same of the sharpest quarter.
    """

    epochs: Float[Tensor, " lengths"]
    variance: Float[Tensor, "lengths k"]
    width: Float[Tensor, " k"]
    flat_exponent: float
    sharp_exponent: float


def measure_growth(everything: Trajectory, basis: Directions, widths: Flatness, steps_per_epoch: int) -> Growth:
    """How the variance along a basis grows with the window, from one epoch to all that was recorded.

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
    rows = []
    for epochs in lengths:
        count = epochs * steps_per_epoch
        pieces = [theta[start : start + count] for start in range(0, len(theta) - count + 1, count)]
        rows.append(torch.stack([piece.var(dim=0, correction=0) for piece in pieces]).mean(dim=0))
    variance = torch.stack(rows)
    slope = torch.full((theta.shape[1],), math.nan, dtype=torch.float64)
    if len(lengths) > 1:
        x = torch.log(torch.tensor(lengths, dtype=torch.float64))
        x = x - x.mean()
        slope = (x[:, None] * torch.log(variance)).sum(dim=0) / x.square().sum()
    order = torch.argsort(torch.where(torch.isfinite(widths.width), widths.width, math.inf))
    quarter = max(1, len(order) // 4)
    return Growth(
        epochs=torch.tensor(lengths, dtype=torch.float64),
        variance=variance,
        width=widths.width,
        flat_exponent=float(slope[order[-quarter:]].median()),
        sharp_exponent=float(slope[order[:quarter]].median()),
        provenance=stamp(steps_per_epoch=steps_per_epoch),
    )
