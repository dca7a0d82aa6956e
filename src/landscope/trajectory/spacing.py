"""Whether the rows of a trajectory lie at even distances in time, as velocities need."""

from __future__ import annotations

from jaxtyping import Int
from torch import Tensor

from landscope.errors import InputError
from landscope.trajectory.trajectory import Trajectory

__all__ = ["check_even_rows", "spacing_caveat", "unevenness"]

_TOLERANCE = 0.1
"""Mean distance of the gaps from their median, over the median. A gap of g steps among gaps of one changes D, for white
velocities, by g - 1 of the number of gaps: at most so much."""


def unevenness(steps: Int[Tensor, " T"]) -> str:
    """How far apart the rows lie, where the distances differ too much for velocities; empty where they do not.

    Args:
        steps: Optimiser step of each row.

    Example:
        >>> import torch
        >>> unevenness(torch.tensor([100, 200, 1000])), unevenness(torch.tensor([100, 200, 300]))
        ('100 to 800 steps apart', '')
    """
    gaps = steps.diff().double()
    if len(gaps) < 2:
        return ""
    median = float(gaps.median())
    away = float((gaps - median).abs().mean()) / median
    return f"{int(gaps.min())} to {int(gaps.max())} steps apart" if away > _TOLERANCE else ""


def spacing_caveat(steps: Int[Tensor, " T"]) -> str:
    """What to know of D and tau from rows that are not one step apart; empty where they are.

    Args:
        steps: Optimiser step of each row.
    """
    gaps = steps.diff()
    low, high = (int(gaps.min()), int(gaps.max())) if len(gaps) else (1, 1)
    if low == high:
        apart = f"the rows of the window are {low} steps apart: D and tau are those of changes over {low} steps"
        return apart if low > 1 else ""
    apart = f"the rows of the window are {low} to {high} steps apart: D and tau "
    return apart + ("are not measured" if unevenness(steps) else "mix steps of different length")


def check_even_rows(trajectory: Trajectory, what: str) -> None:
    """Raise where the rows lie at distances that differ too much for steps to be compared.

    Args:
        trajectory: The trajectory.
        what: What needs even rows.

    Raises:
        InputError: If they do.
    """
    uneven = unevenness(trajectory.steps)
    if uneven:
        raise InputError(
            expected=f"rows at even distances of optimiser steps, for {what}",
            got=f"rows {uneven}",
            hint="Checkpoints far apart show where the weights went, not how they move from step to step: record the "
            "training with TrajectoryRecorder, or take rows at equal distances.",
        )
