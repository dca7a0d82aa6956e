"""Strengths that are chosen on other seeds than those that are reported."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from landscope.errors import StorageError
from landscope.progress import Reporter
from landscope.reproduction.experiment.folder import ExperimentFolder
from landscope.reproduction.figures.recipe import Plan
from landscope.reproduction.jobs import Job
from landscope.results import Result
from landscope.threads import one_thread

__all__ = ["Comparison", "Seeds", "learnt_as", "trial_name"]

_FIRST_TUNING = 100
_Row = TypeVar("_Row")
_Found = TypeVar("_Found")
_AnyResult = TypeVar("_AnyResult", bound=Result)


@dataclasses.dataclass(frozen=True)
class Seeds:
    """How many seeds a comparison takes.

    Args:
        reported: Seeds whose numbers are given, from 0; a quick reproduction takes its own number.
        tuning: Others, on which strengths are chosen.
        chosen_when_quick: Whether a quick reproduction chooses too, on as many as it reports.
    """

    reported: int = 5
    tuning: int = 2
    chosen_when_quick: bool = False

    def reported_of(self, plan: Plan) -> range:
        """Seeds whose numbers are given."""
        return range(plan.seeds if plan.quick else max(self.reported, plan.seeds))

    def tuning_of(self, plan: Plan) -> range:
        """Seeds on which strengths are chosen."""
        quick = plan.seeds if self.chosen_when_quick else 0
        return range(_FIRST_TUNING, _FIRST_TUNING + (quick if plan.quick else self.tuning))

    def counts_of(self, plan: Plan) -> dict[str, int]:
        """How many of each, for a text."""
        return {"reported": len(self.reported_of(plan)), "tuning": len(self.tuning_of(plan))}


@dataclasses.dataclass(frozen=True)
class Comparison(Generic[_Row, _Found]):
    """Rows of a table, each at the strength of its smallest error on tuning seeds.

    Args:
        plan: Of the reproduction; a quick one takes the middle strength of every row.
        seeds: Reported and tuning ones.
        strengths: What is tried, by row.
        load: ``load(seed, row, strength)``, a result.
        error: What is to be small.
    """

    plan: Plan
    seeds: Seeds
    strengths: Mapping[_Row, Sequence[float]]
    load: Callable[[int, _Row, float], _Found]
    error: Callable[[_Found], float]

    def tried(self, row: _Row) -> Sequence[float]:
        """Strengths that are tried."""
        strengths = self.strengths[row]
        return strengths[len(strengths) // 2 :][:1] if self.plan.quick else strengths

    def jobs(self, name: Callable[[int], str], call: Callable[..., None], *arguments: Any) -> list[Job]:
        """One job a seed, ``call(reporter, *arguments, seed)``; those of tuning seeds are done before the others."""
        seeds = [(seed, 0) for seed in self.seeds.tuning_of(self.plan)]
        seeds += [(seed, 1) for seed in self.seeds.reported_of(self.plan)]
        return [Job(name(seed), call, (*arguments, seed), stage) for seed, stage in seeds]

    def trials(self, seed: int) -> list[tuple[_Row, float]]:
        """What to learn on a seed: every strength there is a choice of, or on a reported one the best of each row."""
        if seed in self.seeds.tuning_of(self.plan):
            return [(row, s) for row in self.strengths if len(self.tried(row)) > 1 for s in self.tried(row)]
        return [(row, self.best(row)) for row in self.strengths]

    def learn(
        self,
        reporter: Reporter,
        run: ExperimentFolder,
        seed: int,
        named: Callable[[_Row, float], str],
        begin: Callable[[], Callable[[_Row, float], Any]],
    ) -> None:
        """What is not in the folder of a seed yet.

        Args:
            reporter: Of progress.
            run: Of the seed.
            seed: Reported or tuning.
            named: Under which name a run keeps a row at a strength.
            begin: Prepares what all rows need, and gives what learns a row at a strength; not called for nothing.
        """
        missing = [trial for trial in self.trials(seed) if not run.has(named(*trial))]
        if not missing:
            return
        with run.locked(), one_thread(), reporter.stage(run.path.name) as progress:
            learnt = begin()
            for number, (row, strength) in enumerate(missing):
                run.save(named(row, strength), learnt(row, strength))
                progress(number + 1, len(missing))

    def best(self, row: _Row) -> float:
        """The strength of the smallest mean error on the tuning seeds; the only one where there is no choice."""
        tried = self.tried(row)
        return tried[0] if len(tried) == 1 else min(tried, key=lambda strength: self._mean_error(row, strength))

    def shown(self, row: _Row) -> str:
        """The best strength for a table, and whether it is the first or last that was tried."""
        strength, tried = self.best(row), self.tried(row)
        if math.isnan(strength):
            return "–"
        at_edge = len(tried) > 1 and strength in (tried[0], tried[-1])
        return f"{strength:g}{' (edge)' if at_edge else ''}"

    def reported(self, row: _Row) -> list[_Found]:
        """Results of the reported seeds at the best strength."""
        best = self.best(row)
        return [self.load(seed, row, best) for seed in self.seeds.reported_of(self.plan)]

    def _mean_error(self, row: _Row, strength: float) -> float:
        return statistics.fmean(self.error(self.load(seed, row, strength)) for seed in self.seeds.tuning_of(self.plan))


def trial_name(kind: str, method: str, strength: float) -> str:
    """Under which name a run keeps a method at a strength; NaN for none."""
    return f"{kind}-{method}" + ("" if math.isnan(strength) else f"-{strength:g}")


def learnt_as(found: _AnyResult, how: Any) -> _AnyResult:
    """A result of an earlier command.

    Args:
        found: The result.
        how: A dataclass that says how it would be learnt now.

    Returns:
        The result.

    Raises:
        StorageError: If it was learnt in another way, which must not be mixed with what is learnt now.
    """
    then, now = found.provenance.get("settings", {}), json.loads(json.dumps(dataclasses.asdict(how)))
    if changed := [name for name in now if then.get(name) != now[name]]:
        raise StorageError(
            expected=f"results of {', '.join(f'{name} {now[name]}' for name in changed)}",
            got=f"some of {', '.join(f'{name} {then.get(name)}' for name in changed)}",
            hint="Choose another --out, or delete the runs they are in.",
        )
    return found
