"""Strengths that are chosen on other seeds than those that are reported."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

from landscope.run.recipes.recipe import Plan

__all__ = ["Seeds", "best_strength", "shown_strength", "tried_strengths"]

_FIRST_TUNING = 100


@dataclasses.dataclass(frozen=True)
class Seeds:
    """How many seeds a comparison takes.

    Args:
        reported: Seeds whose numbers are given, from 0; a quick reproduction takes its own number.
        tuning: Others, on which strengths are chosen; a quick reproduction chooses nothing.
    """

    reported: int = 5
    tuning: int = 2

    def reported_of(self, plan: Plan) -> range:
        """Seeds whose numbers are given."""
        return range(plan.seeds if plan.quick else max(self.reported, plan.seeds))

    def tuning_of(self, plan: Plan) -> range:
        """Seeds on which strengths are chosen."""
        return range(_FIRST_TUNING, _FIRST_TUNING + (0 if plan.quick else self.tuning))


def tried_strengths(strengths: Sequence[float], plan: Plan) -> tuple[float, ...]:
    """What is tried; a quick reproduction takes the middle strength only."""
    return (strengths[len(strengths) // 2],) if plan.quick else tuple(strengths)


def best_strength(strengths: Sequence[float], error: Callable[[float], float]) -> float:
    """The strength of the smallest error on the tuning seeds, which is not asked for where there is no choice."""
    return strengths[0] if len(strengths) == 1 else min(strengths, key=error)


def shown_strength(strength: float, strengths: Sequence[float]) -> str:
    """A strength for a table, and whether it is the first or last that was tried."""
    if math.isnan(strength):
        return "–"
    at_edge = len(strengths) > 1 and strength in (strengths[0], strengths[-1])
    return f"{strength:g}{' (edge)' if at_edge else ''}"
