"""Whether the floating type of the weights, and not the training, decides which weights move."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_trajectory
from landscope.results import Result, stamp
from landscope.trajectory.trajectory import Trajectory

__all__ = ["HeldByRounding", "encoding_caveat", "held_by_rounding", "rounding_caveat", "spacing_of"]

_MOST = 0.1
"""Share of the steps of single weights that may be lost before it is said."""
_CLEARLY_MORE = 10
"""Variance over that of rounding from which on a mode is one of the training."""
_SOME_ROWS = 64


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HeldByRounding(Result, kind="held_by_rounding"):
    """How many steps of single weights rounding has made zero.

    Args:
        share: Share of all steps of single weights that are zero because the update is below rounding.
        still: Share of all steps of single weights that are zero, also of weights that get no gradient.
        never: Share of the weights that never move because a typical update is below their rounding.
        step: Typical size of a step: the median over the weights that move of the mean of ``|w(t + 1) - w(t)|``.
        spacing: Median distance u of neighbouring floating-point numbers at the last weights.
        precision: Floating type in which the weights were trained.
    """

    share: float
    still: float
    never: float
    step: float
    spacing: float
    precision: str


def spacing_of(weights: Float[Tensor, " N"], precision: torch.dtype) -> Float[Tensor, " N"]:
    """Distance of neighbouring floating-point numbers at each weight.

    Args:
        weights: The weights.
        precision: Floating type.

    Example:
        >>> spacing_of(torch.tensor([1.0, 3.0]), torch.bfloat16).tolist()
        [0.0078125, 0.015625]
    """
    kind = torch.finfo(precision)
    exponent = torch.floor(torch.log2(weights.double().abs().clamp(min=kind.tiny)))
    return kind.eps * torch.exp2(exponent)


def held_by_rounding(window: Trajectory) -> HeldByRounding:
    r"""Count the steps that rounding makes zero.

    A weight w with the spacing u of its floating type takes an update only if it is at least u/2:

    .. math:: |\Delta w| < u/2 \;\Rightarrow\; w + \Delta w = w .

    A weight that gets no gradient has steps of zero too. So zero steps of a weight that moves at times count only where
    the mean of \|w(t + 1) - w(t)\| is at most u: it rests, and then jumps by a spacing. Those of a weight that never
    moves count only where u/2 is larger than the typical step of the weights that do move. Between two rows lie all
    steps that were not recorded.

    Args:
        window: The window, in the precision of the training.

    Returns:
        The shares; zero where nothing is lost.

    Raises:
        InputError: If there are fewer than two rows.

    Example:
        Steps of 1e-3 on weights of 1, of which bfloat16 keeps none below 0.0039:

        >>> path = torch.ones(50, 4) + 1e-3 * torch.arange(50.0)[:, None]
        >>> lost = held_by_rounding(Trajectory.of(path.bfloat16().float(), precision=torch.bfloat16))
        >>> kept = held_by_rounding(Trajectory.of(path))
        >>> lost.share > 0.8, kept.share
        (True, 0.0)
    """
    check_trajectory(window)
    window.check(minimum_rows=2)
    zeros = torch.zeros(window.dim, dtype=torch.float64)
    way = torch.zeros_like(zeros)
    before = window.row(0)[None]
    for block in window.blocks():
        steps = torch.cat([before, block]).double().diff(dim=0)
        zeros += (steps == 0).sum(dim=0)
        way += steps.abs().sum(dim=0)
        before = block[-1:]
    zeros -= 1  # the first row beside itself
    count, last = len(window) - 1, window.row(-1)
    precision = window.precision or last.dtype
    mean, spacing, moves = way / count, spacing_of(last, precision), way > 0
    step = float(mean[moves].median()) if bool(moves.any()) else 0.0
    never = ~moves & (spacing / 2 > step) & bool(moves.any())
    held = never | (moves & (mean <= spacing))
    return HeldByRounding(
        share=float(zeros[held].sum() / (count * window.dim)),
        still=float(zeros.sum() / (count * window.dim)),
        never=float(never.double().mean()),
        step=step,
        spacing=float(spacing.median()),
        precision=str(precision).removeprefix("torch."),
        provenance=stamp(),
    )


def rounding_caveat(found: HeldByRounding) -> str:
    """What to know of variances, D and tau of a window that rounding holds still; empty where it does not.

    Args:
        found: The count of :func:`held_by_rounding`.
    """
    if found.still == 1:
        return (
            f"no weight moves: it gets no gradient, or every update is below its rounding to {found.precision}, "
            f"{found.spacing / 2:.2g} in the middle"
        )
    if found.share <= _MOST:
        return ""
    never = f", and {100 * found.never:.0f} % of the weights never move for it" if found.never > 0.005 else ""
    return (
        f"rounding to {found.precision} holds the weights: {100 * found.share:.0f} % of the steps of single weights "
        f"are zero because the update is below half the distance of two numbers, {found.spacing:.2g} in the middle"
        f"{never}; variances, D and tau show rounding: train with a float32 copy of the weights, and record that"
    )


def encoding_caveat(window: Trajectory, variance: Float[Tensor, " k"]) -> str:
    r"""What to know of modes in which rows with one byte a weight move little; empty where they move far enough.

    A weight is off by at most e, evenly spread, so that its error has the variance :math:`e^2/3`; the errors of weights
    are independent, and so every direction has their mean.

    Args:
        window: The rows.
        variance: Variance of each mode.
    """
    some = torch.linspace(0, len(window) - 1, min(len(window), _SOME_ROWS)).long().tolist()
    errors = [error for error in map(window.errors, some) if error is not None]
    if not errors:
        return ""
    rounding = float(torch.stack([error.double().square().mean() / 3 for error in errors]).mean())
    count = int((variance < _CLEARLY_MORE * rounding).sum())
    if not count:
        return ""
    return (
        f"rows hold one byte a weight, which adds a variance of {rounding:.2g} in every direction; {count} of the "
        f"{len(variance)} modes have less than ten times that, so that exponents over them are those of rounding too"
    )
