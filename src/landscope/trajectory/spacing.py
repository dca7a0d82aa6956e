"""The steps of the rows of a trajectory: that they rise, and lie at even distances where velocities need it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from landscope._checks import is_number
from landscope.errors import InputError

if TYPE_CHECKING:
    from landscope.trajectory.trajectory import Trajectory

__all__ = [
    "check_even_rows", "check_every_step", "equal_distance", "rows_between", "spacing_caveat", "unevenness",
    "what_is_wrong",
]  # fmt: skip

_TOLERANCE = 0.1
"""Largest mean of ``|(gap/median)^2 - 1|``: the share by which D changes. A gap of g steps among n gaps of one changes
D by (g - 1)/n for white velocities, and by (g^2 - 1)/n for a drift."""


def what_is_wrong(steps: Int[Tensor, " T"]) -> str:
    """What is wrong with the step numbers of rows, which rise and are at least 0; empty if nothing is.

    Args:
        steps: Optimiser step of each row.

    Example:
        >>> what_is_wrong(torch.tensor([1, 2, 3])), what_is_wrong(torch.tensor([1, 2, 2]))
        ('', 'step 2 after step 2')
    """
    falls = (steps.diff() <= 0).nonzero().flatten().tolist()
    if falls:
        return f"step {int(steps[falls[0] + 1])} after step {int(steps[falls[0]])}"
    return f"step {int(steps[0])}" if len(steps) and steps[0] < 0 else ""


def rows_between(steps: Int[Tensor, " T"], start: int | None, stop: int | None) -> slice:
    """The rows of the steps ``start <= step < stop``.

    Args:
        steps: Optimiser step of each row, rising.
        start: First step; from the beginning if None.
        stop: First step left out; to the end if None.

    Returns:
        Their positions.

    Raises:
        InputError: If an end is no whole number or further outside the recorded steps than rows lie apart, or no row
            lies between them.
    """
    for name, step in (("start", start), ("stop", stop)):
        if step is not None and not (is_number(step) and float(step).is_integer()):
            raise InputError(expected=f"{name} as a step number", got=repr(step), hint="Pass an integer.")
    if not len(steps):
        raise InputError(expected="a recording with rows", got="none", hint="Record some steps first.")
    low, high = int(steps[0]), int(steps[-1])
    gap = max(1, int(steps.diff().median())) if len(steps) > 1 else 1
    if (start is not None and start <= low - gap) or (stop is not None and stop > high + gap):
        raise InputError(
            expected=f"a window within the recorded steps {low} to {high}",
            got=f"[{'' if start is None else start}, {'' if stop is None else stop})",
            hint="Leave out start= or stop= to begin or end where the recording does; the last n rows are "
            "trajectory.part(slice(-n, None)).",
        )
    first = 0 if start is None else int(torch.searchsorted(steps, start))
    last = len(steps) if stop is None else int(torch.searchsorted(steps, stop))
    if first >= last:
        raise InputError(
            expected=f"a window [{start}, {stop}) that holds recorded steps",
            got=f"steps {low} to {high}",
            hint="Choose a window within them.",
        )
    return slice(first, last, 1)


def unevenness(steps: Int[Tensor, " T"]) -> str:
    """How far apart the rows lie, where the distances differ too much for velocities; empty where they do not.

    Args:
        steps: Optimiser step of each row.

    Example:
        >>> unevenness(torch.tensor([100, 200, 1000])), unevenness(torch.tensor([100, 200, 300]))
        ('100 to 800 steps apart', '')
    """
    gaps = steps.diff().double()
    if len(gaps) < 2:
        return ""
    away = float(((gaps / gaps.median()).square() - 1).abs().mean())
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
        raise _uneven("rows at even distances of optimiser steps", what, f"rows {uneven}")


def equal_distance(trajectory: Trajectory, what: str) -> int:
    """The optimiser steps between two rows, where they are the same everywhere.

    Args:
        trajectory: The trajectory, of at least two rows.
        what: What needs rows at equal distances.

    Raises:
        InputError: If the distances differ.
    """
    gaps = trajectory.steps.diff()
    low, high = int(gaps.min()), int(gaps.max())
    if low != high:
        raise _uneven("rows at equal distances of optimiser steps", what, f"rows {low} to {high} steps apart")
    return low


def check_every_step(trajectory: Trajectory, what: str) -> None:
    """Raise unless there is a row for every optimiser step.

    Args:
        trajectory: The trajectory.
        what: What needs every step.

    Raises:
        InputError: If steps are missing between two rows.
    """
    missing = (trajectory.steps.diff() != 1).nonzero().flatten().tolist()
    if missing:
        low, high = trajectory.steps[missing[0] : missing[0] + 2].tolist()
        raise _uneven("a row for every step", what, f"step {high} after step {low}", "with every=1, and do not thin it")


def _uneven(expected: str, what: str, got: str, how: str = "with TrajectoryRecorder") -> InputError:
    return InputError(
        expected=f"{expected}, for {what}",
        got=got,
        hint="Rows far apart show where the weights went, not how they move from step to step: record the training "
        f"{how}, or take a window without gaps with .window(start, stop).",
    )
