"""Five tasks of two digits in a row (sec-S8): the mean error of all at the end, by method."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence

from landscope.progress import Reporter
from landscope.reproduction.experiment.folder import ExperimentFolder
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures.recipe import Plan, Section, mean_with_spread
from landscope.reproduction.figures.strengths import Comparison, Seeds
from landscope.reproduction.jobs import Job
from landscope.reproduction.sequential.ablations import method_label
from landscope.reproduction.sequential.courses import begin_course, in_turn_artefact
from landscope.reproduction.sequential.sequence import TasksInTurn, learn_in_turn

__all__ = ["TasksInARow"]

_GROUPS = ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))
_SEEDS = Seeds(reported=5, tuning=2)
_EPOCHS, _WINDOW_EPOCHS = 5, 5
"""Longest wait for a training error of zero, and the window after it."""
_RANK = 600
_CONSTRAINT, _CURVATURE = (0.1, 0.4, 1.0, 4.0), (1.0, 1e1, 1e2, 1e3)
_STRONGER = (0.4, 1.0, 4.0, 10.0, 40.0)
_Way = tuple[str, int, int | None]
"""Method, modes a task, directions of all tasks together."""
_TRIED: Mapping[_Way, tuple[float, ...]] = {
    ("none", 0, None): (math.nan,),
    ("ldc-no-floor", 200, None): (0.03, 0.1, *_STRONGER), ("ldc-floor", 200, None): _CONSTRAINT,
    ("ldc-floor", 400, None): _CONSTRAINT, ("ldc-floor", 400, _RANK): _CONSTRAINT,
    ("ldc-variance-factored", 400, None): _CONSTRAINT, ("ldc-variance-factored", 400, _RANK): _STRONGER,
    ("ewc", 0, None): (1.0, 1e1, 1e2, 1e3, 1e4, 1e5), ("kfac", 0, None): _CURVATURE, ("kfac", 0, _RANK): _CURVATURE,
    ("l2", 0, None): (0.1, 0.3, 1.0, 3.0, 10.0), ("joint", 0, None): (math.nan,),
}  # fmt: skip
"""Strengths."""
_HEADINGS = (
    "method",
    "mean error (%)",
    "forgetting (points)",
    "λ",
    "numbers / N",
    "seconds a task",
    "error of each task (%)",
)
_TEXT = (
    "Layers trained before on all digits; the weights between the hidden layers learn two digits after two, each pair "
    "until there is no training error, five epochs at most, and a window of five epochs more. Every task leaves a "
    "penalty; all are added up, or merged: directions to 600, Kronecker products to the nearest one. Test errors "
    "after the last task, all ten answers allowed, mean and standard deviation over {reported} seeds; strengths of "
    "the smallest mean test error, of the same samples, on {tuning} others. Forgetting as Chaudhry et al. 2018. "
    "Seconds were measured beside whatever else the machine did; a window is recorded for every method."
)


class TasksInARow:
    """One job a seed: every method from the same pre-trained layers."""

    key = "in-turn"
    title = "Five tasks in a row (sec-S8)"

    def jobs(self, plan: Plan) -> list[Job]:
        """One job a seed."""
        return _comparison(plan).jobs(_name, _run, plan)

    def sections(self, plan: Plan) -> list[Section]:
        """The table."""
        rows, values, comparison = [], {}, _comparison(plan)
        for way in _TRIED:
            found = comparison.reported(way)
            rows.append(_row(way, comparison.shown(way), found))
            values[_artefact(way, comparison.best(way))] = [one.error.tolist() for one in found]
        text = _TEXT.format(**_SEEDS.counts_of(plan))
        return [Section(self.key, self.title, text, _HEADINGS, rows, [], values, None)]


def _name(seed: int) -> str:
    return f"in-turn-seed{seed}"


def _run(reporter: Reporter, plan: Plan, seed: int) -> None:
    run = ExperimentFolder.create(plan.run_path(_name(seed)), plan.settings_with(seed=seed))
    _comparison(plan).learn(reporter, run, seed, _artefact, functools.partial(_begin, run.settings))


def _begin(settings: Settings) -> Callable[[_Way, float], TasksInTurn]:
    """Every way goes on from the same layers."""
    course = begin_course(settings, _GROUPS, "all", max(n_modes for _, n_modes, _ in _TRIED))
    course.window_epochs, start = _WINDOW_EPOCHS, course.weights

    def learn(way: _Way, strength: float) -> TasksInTurn:
        method, n_modes, rank = way
        course.put(start)
        return learn_in_turn(course, method, strength=strength, n_modes=max(1, n_modes), epochs=_EPOCHS, rank=rank)

    return learn


def _comparison(plan: Plan) -> Comparison[_Way, TasksInTurn]:
    load = functools.partial(_load, plan)
    return Comparison(plan, _SEEDS, _TRIED, load, lambda found: found.average_error)


def _load(plan: Plan, seed: int, way: _Way, strength: float) -> TasksInTurn:
    return ExperimentFolder.open(plan.run_path(_name(seed))).load(_artefact(way, strength), TasksInTurn)


def _artefact(way: _Way, strength: float) -> str:
    method, n_modes, rank = way
    return in_turn_artefact(method, strength, n_modes, rank)


def _row(way: _Way, strength: str, found: Sequence[TasksInTurn]) -> list[str]:
    method, n_modes, rank = way
    modes, merged = f", {n_modes} modes a task" if n_modes else "", ", merged" if rank else ""
    last = [statistics.fmean(100 * float(one.error[-1, task]) for one in found) for task in range(len(found[0].tasks))]
    return [
        f"{method_label(method)}{modes}{merged}",
        mean_with_spread([100 * one.average_error for one in found]),
        mean_with_spread([100 * one.forgetting for one in found]),
        strength,
        f"{statistics.median(one.stored_over_weights for one in found):.0f}",
        f"{statistics.median(float((one.seconds + one.keeping_seconds).mean()) for one in found):.1f}",
        ", ".join(f"{error:.1f}" for error in last),
    ]
