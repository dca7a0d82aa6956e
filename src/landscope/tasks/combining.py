"""The penalty of a finished task, and of all tasks so far."""

from __future__ import annotations

from landscope.penalties import PenaltySum, QuadraticPenalty, merged_penalty
from landscope.protocols import Penalty
from landscope.tasks.finished import FinishedTask
from landscope.tasks.methods import METHODS, with_strength

__all__ = ["combined_penalty", "held_directions", "own_penalty"]


def held_directions(finished: FinishedTask, method: str, n_modes: int) -> int:
    """How many directions a penalty of this task holds: as many as were asked for, or as the weights moved along."""
    count = n_modes if METHODS[method].takes_modes else 0
    return min(count, finished.modes.n_moving) if METHODS[method].measures else count


def own_penalty(finished: FinishedTask, method: str, strength: float, n_modes: int) -> Penalty:
    """The penalty of one task alone."""
    return with_strength(METHODS[method].build(finished, held_directions(finished, method, n_modes)), strength)


def combined_penalty(earlier: Penalty | None, own: Penalty, rank: int | None = None) -> Penalty:
    """The sum of the penalties of earlier tasks and of one more.

    One quadratic penalty where both are of one kind, of at most ``rank`` directions; otherwise their sum.
    """
    if earlier is None:
        return own
    quadratic = isinstance(earlier, QuadraticPenalty) and isinstance(own, QuadraticPenalty)
    if quadratic and (earlier.directions is None) == (own.directions is None):
        return merged_penalty([earlier, own], None if own.directions is None else rank)
    parts = (*earlier.parts, own) if isinstance(earlier, PenaltySum) else (earlier, own)
    return PenaltySum(parts)
