"""The one tuner: strengths are chosen on tuning seeds, and results are reported on other seeds."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar, runtime_checkable

__all__ = ["Seeds", "TunedStrength", "Tuner", "middle_strengths"]

_FIRST_TUNING = 100
_Row = TypeVar("_Row")
_Loaded = TypeVar("_Loaded")


@runtime_checkable
class _Sized(Protocol):
    """What seeds depend on: a plan of a reproduction."""

    @property
    def seeds(self) -> int: ...
    @property
    def quick(self) -> bool: ...


@dataclasses.dataclass(frozen=True)
class Seeds:
    """Numbers of seeds of a comparison.

    Args:
        reported: Seeds that are reported, from 0; a quick reproduction takes its own number.
        tuning: Other seeds, on which strengths are chosen.
        tuned_when_quick: Whether a quick reproduction tunes too, on as many seeds as it reports.
    """

    reported: int = 5
    tuning: int = 2
    tuned_when_quick: bool = False

    def reported_of(self, plan: _Sized) -> range:
        """Seeds that are reported."""
        return range(plan.seeds if plan.quick else max(self.reported, plan.seeds))

    def tuning_of(self, plan: _Sized) -> range:
        """Seeds on which strengths are chosen."""
        quick = plan.seeds if self.tuned_when_quick else 0
        return range(_FIRST_TUNING, _FIRST_TUNING + (quick if plan.quick else self.tuning))

    def counts_of(self, plan: _Sized) -> dict[str, int]:
        """Numbers of both, for a text."""
        return {"reported": len(self.reported_of(plan)), "tuning": len(self.tuning_of(plan))}


@dataclasses.dataclass(frozen=True)
class TunedStrength:
    """A strength chosen on tuning seeds.

    Args:
        value: lambda; NaN for a method without.
        at_edge: Whether it is the smallest or largest that was tried, so that a better one may lie beyond.
    """

    value: float
    at_edge: bool = False

    def __str__(self) -> str:
        return "–" if math.isnan(self.value) else f"{self.value:g}{' (edge)' if self.at_edge else ''}"


@dataclasses.dataclass(frozen=True)
class Tuner(Generic[_Row, _Loaded]):
    """Rows of a table, each at the strength of its smallest mean error over tuning seeds.

    Args:
        strengths: Strengths to try, rising, by row; one alone is taken untried.
        load: ``load(seed, row, strength)``, a result.
        error: Error of a result.
        tuning: Seeds on which strengths are chosen.
        reported: Other seeds, whose results are reported.

    Example:
        >>> strengths, error = {"ldc": (0.1, 1.0, 10.0)}, lambda trial: abs(trial[2] - 1.0)
        >>> tuner = Tuner(strengths, load=lambda *trial: trial, error=error, tuning=[100], reported=[0])
        >>> tuner.best("ldc"), tuner.results("ldc"), tuner.trials(100)
        (TunedStrength(value=1.0, at_edge=False), [(0, 'ldc', 1.0)], [('ldc', 0.1), ('ldc', 1.0), ('ldc', 10.0)])
    """

    strengths: Mapping[_Row, Sequence[float]]
    load: Callable[[int, _Row, float], _Loaded]
    error: Callable[[_Loaded], float]
    tuning: Sequence[int]
    reported: Sequence[int]

    def best(self, row: _Row) -> TunedStrength:
        """The strength of the smallest mean error over tuning seeds; the only one if there is no choice."""
        tried = self.strengths[row]
        if len(tried) == 1:
            return TunedStrength(tried[0])
        best = min(tried, key=lambda strength: self._mean_error(row, strength))
        return TunedStrength(best, at_edge=best in (tried[0], tried[-1]))

    def _mean_error(self, row: _Row, strength: float) -> float:
        return statistics.fmean(self.error(self.load(seed, row, strength)) for seed in self.tuning)

    def results(self, row: _Row) -> list[_Loaded]:
        """Results of the reported seeds at the best strength."""
        best = self.best(row).value
        return [self.load(seed, row, best) for seed in self.reported]

    def trials(self, seed: int) -> list[tuple[_Row, float]]:
        """Trials of a seed: all strengths there is a choice of on a tuning seed, the best of each row on others."""
        if seed in self.tuning:
            return [(row, s) for row, tried in self.strengths.items() if len(tried) > 1 for s in tried]
        return [(row, self.best(row).value) for row in self.strengths]


def middle_strengths(strengths: Mapping[_Row, Sequence[float]]) -> dict[_Row, Sequence[float]]:
    """The middle strength of every row, for a quick reproduction that tunes nothing."""
    return {row: tried[len(tried) // 2 :][:1] for row, tried in strengths.items()}
