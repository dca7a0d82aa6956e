"""Methods compared on one sequence of tasks, each at a strength that tuning seeds chose."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from landscope.progress import Reporter
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures.figure import Plan
from landscope.reproduction.jobs import Job
from landscope.reproduction.sequential.continual_result import ContinualResult
from landscope.reproduction.sequential.kept_results import make_missing
from landscope.reproduction.sequential.methods import MethodSettings
from landscope.reproduction.sequential.tuning import Seeds, Tuner, middle_strengths

__all__ = ["NO_STRENGTH", "MethodComparison", "Row", "Strengths"]

NO_STRENGTH = (math.nan,)
"""The strengths to try where a method has no strength."""
Row = tuple[MethodSettings, Sequence[ContinualResult]]
"""A method and its results, by seed."""
Strengths = Mapping[MethodSettings, Sequence[float]]
"""Strengths to try, by method."""


@dataclasses.dataclass(frozen=True)
class MethodComparison:
    """A comparison; a quick one takes the middle strength of every method and tunes nothing.

    Args:
        plan: Plan of the reproduction.
        key: Key of its runs.
        seeds: Numbers of reported and tuning seeds.
        strengths: Strengths to try, by method.
        prepare: ``prepare(settings)`` prepares a seed and returns the function that runs a method on it; a function of
            a module, so that another process can find it, or a partial one.
        numbers: What else all results depend on.
        changes: Changes of the shared settings.
    """

    plan: Plan
    key: str
    seeds: Seeds
    strengths: Strengths
    prepare: Callable[[Settings], Callable[[MethodSettings], ContinualResult]]
    numbers: Mapping[str, Any]
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def jobs(self) -> list[Job]:
        """One job a seed; those of tuning seeds are done before the others."""
        seeds = [(seed, 0) for seed in self.seeds.tuning_of(self.plan)]
        seeds += [(seed, 1) for seed in self.seeds.reported_of(self.plan)]
        return [Job(self._name(seed), run_seed, (self, seed), stage) for seed, stage in seeds]

    @property
    def tuner(self) -> Tuner[MethodSettings, ContinualResult]:
        """Chooses strengths by the mean error of all tasks after the last."""
        strengths = middle_strengths(self.strengths) if self.plan.quick else self.strengths
        tuning, reported = self.seeds.tuning_of(self.plan), self.seeds.reported_of(self.plan)
        return Tuner(strengths, self._load, lambda result: result.average_error, tuning, reported)

    def results(self) -> dict[MethodSettings, list[ContinualResult]]:
        """Results of the reported seeds, by method."""
        return {row: self.tuner.results(row) for row in self.strengths}

    def values(self) -> dict[str, list[list[list[float]]]]:
        """Errors of the reported seeds by method, for JSON."""
        return {
            row.at(self.tuner.best(row).value).file_name: [result.error.tolist() for result in results]
            for row, results in self.results().items()
        }

    def settings(self, seed: int) -> Settings:
        """Settings of a seed."""
        return self.plan.settings_with(**self.changes, seed=seed)

    def _name(self, seed: int) -> str:
        return f"{self.key}-seed{seed}"

    def _load(self, seed: int, row: MethodSettings, strength: float) -> ContinualResult:
        return self.plan.load(self._name(seed), row.at(strength).file_name, ContinualResult)


def run_seed(reporter: Reporter, comparison: MethodComparison, seed: int) -> None:
    """Run the trials of a seed that its folder does not hold yet."""
    settings = comparison.settings(seed)
    trials = [row.at(strength) for row, strength in comparison.tuner.trials(seed)]
    make_missing(
        comparison.plan.run_path(comparison._name(seed)), settings, {trial.file_name: trial for trial in trials},
        lambda: comparison.prepare(settings), reporter, comparison.numbers,
    )  # fmt: skip
