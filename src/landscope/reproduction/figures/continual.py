"""Tasks in turn where the field measures: split and permuted sets, all layers trained, many ways to keep tasks."""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence

from landscope.law.intervals import mean_with_interval, mean_with_spread, seed_interval
from landscope.progress import Reporter
from landscope.reproduction.experiment.experiment import Experiment
from landscope.reproduction.experiment.folder import ExperimentFolder
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures.continual_scenarios import Course, courses_of
from landscope.reproduction.figures.figure import Plan, Section
from landscope.reproduction.figures.strengths import Comparison, Seeds, learnt_as, trial_name
from landscope.reproduction.jobs import Job
from landscope.reproduction.sequential.scenario_training import learn_scenario, rival_name
from landscope.reproduction.sequential.sequence import TasksInTurn

__all__ = ["Continual"]

_SEEDS = Seeds(reported=5, tuning=2)
_NONE = (math.nan,)
_TRIED: Mapping[str, tuple[float, ...]] = {
    "none": _NONE, "ldc-no-floor": (0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5),
    "ldc-floor": (4e-4, 0.004, 0.04, 0.4, 4.0, 40.0, 400.0),
    "ldc-variance-factored": (0.04, 0.4, 4.0, 40.0, 400.0, 4e3, 4e4, 4e5, 4e6),
    "ewc": (1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6),
    "kfac": (0.1, 1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7), "si": (0.01, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4),
    "mas": (1e-3, 0.01, 0.1, 1.0, 10.0, 100.0, 1e3), "l2": (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0),
    "gpm": (0.5, 0.65, 0.8, 0.9, 0.97, 0.99), "ogd": _NONE, "replay": _NONE, "joint": _NONE,
}  # fmt: skip
"""Strengths, of which each scenario tries some in a row; of GPM, thresholds, which are tried everywhere."""
_REFERENCE = "ldc-variance-factored"
"""What the others are compared with."""
_HEADINGS = (
    "method", "average accuracy (%)", "ahead of factored LDC by (points)", "backward transfer (points)",
    "forgetting (points)", "strength", "stored / weights", "seconds a task",
)  # fmt: skip
_TEXT = (
    "All layers are trained from the beginning, by plain SGD; nothing of later tasks is known before. "
    "Task-incremental: the task of a test sample is known, and what tasks share is held, all layers but the last. "
    "Domain-incremental: all tasks share their outputs. Class-incremental: the class among all of all tasks is asked "
    "for. Accuracy over all tasks after the last, backward transfer and forgetting by their usual definitions, mean "
    "and standard deviation over {reported} seeds; strengths of the best average accuracy on the same test samples "
    "over {tuning} other seeds. Ahead and behind: of LDC kept as Kronecker products, seed by seed, where the 95 % "
    "interval of the mean difference does not reach zero. Penalties are taken as implicit steps. Those of all tasks "
    "together are kept in bounded memory: directions to {rank}, Kronecker products (factored LDC and EWC) as the "
    "nearest one. SI and MAS hold each task where it ended, as EWC does. Stored: numbers kept at the end, samples "
    "included, over the number of weights; LDC records its window besides, SI two numbers a weight, while a task is "
    "learnt. Seconds were measured beside whatever else the machine did. van de Ven & Tolias (arXiv 1904.07734) found "
    "98.64 / 63.95 / 20.01 for EWC, 99.09 / 65.36 / 19.99 for SI, 87.19 / 59.21 / 19.90 without anything and 99.66 / "
    "98.42 / 97.94 for joint training on split MNIST (task, domain, class), with two hidden layers of 400, Adam, and "
    "2,000 minibatches of 128 a task, some ten times as much training as here."
)
_HOW = (
    "Each task for {epochs} epochs of minibatches of {batch_size}, learning rate {learning_rate:g}. LDC holds "
    "{n_modes} modes of the last {window} steps of a task; losses and Fisher information are measured on "
    "{max_samples} of its samples."
)


class Continual:
    """One job a scenario and seed: strengths on two seeds, then every method at its best on others."""

    key = "continual"
    title = "Tasks in turn where the field measures"

    def jobs(self, plan: Plan) -> list[Job]:
        """One job a scenario and seed."""
        return [
            job
            for course in courses_of(plan)
            for job in _comparison(plan, course).jobs(functools.partial(_name, course), _run, plan, course)
        ]

    def sections(self, plan: Plan) -> list[Section]:
        """All scenarios in one table, then one table a scenario."""
        courses = courses_of(plan)
        return [_overview(plan, courses), *(_section(plan, course) for course in courses)]


def _name(course: Course, seed: int) -> str:
    return f"continual-{course.key}-seed{seed}"


def _run(reporter: Reporter, plan: Plan, course: Course, seed: int) -> None:
    def begin() -> Callable[[str, float], TasksInTurn]:
        problem = _problem(_settings(plan, course, 0))
        scenario, network = course.scenario(problem), course.network(problem, seed)
        return lambda method, strength: learn_scenario(
            scenario, network, method, strength=strength, schooling=course.schooling, seed=seed
        )

    _comparison(plan, course).learn(reporter, _folder(plan, course, seed), seed, _artefact, begin)


def _comparison(plan: Plan, course: Course) -> Comparison[str, TasksInTurn]:
    load = functools.partial(_load, plan, course)
    return Comparison(plan, _SEEDS, _tried(course), load, lambda found: found.average_error)


def _tried(course: Course) -> Mapping[str, tuple[float, ...]]:
    same = {row for row, strengths in _TRIED.items() if len(strengths) == 1} | {"gpm"}
    return {row: s if row in same else s[slice(*course.strengths)] for row, s in _TRIED.items()}


def _settings(plan: Plan, course: Course, seed: int) -> Settings:
    return plan.settings_with(**course.changes, seed=seed)


def _folder(plan: Plan, course: Course, seed: int) -> ExperimentFolder:
    return ExperimentFolder.create(plan.run_path(_name(course, seed)), _settings(plan, course, seed))


@functools.lru_cache(maxsize=1)
def _problem(settings: Settings) -> Experiment:
    """Of all seeds: the data are read once."""
    return Experiment(settings)


_artefact = functools.partial(trial_name, "continual")


def _load(plan: Plan, course: Course, seed: int, method: str, strength: float) -> TasksInTurn:
    found = _folder(plan, course, seed).load(_artefact(method, strength), TasksInTurn)
    return learnt_as(found, course.schooling)


def _overview(plan: Plan, courses: Sequence[Course]) -> Section:
    """Methods x scenarios."""
    found = [_reported(plan, course) for course in courses]
    rows = []
    for method in _TRIED:
        cells = [_accuracy_told(one[method], one[_REFERENCE]) for one in found]
        stored = _range([_stored(one[method]) for one in found], ".3g")
        rows.append([rival_name(method), *cells, stored, _range([_time(one[method]) for one in found], ".1f")])
    text = _TEXT.format(rank=courses[0].schooling.rank, **_SEEDS.counts_of(plan))
    headings = ("method", *(course.name for course in courses), "stored / weights", "seconds a task")
    return Section("continual", "Tasks in turn: average accuracy (%)", text, headings, rows, [], {})


def _section(plan: Plan, course: Course) -> Section:
    comparison, found = _comparison(plan, course), _reported(plan, course)
    rows = [_row(method, comparison.shown(method), found[method], found[_REFERENCE]) for method in _TRIED]
    values = {
        _artefact(method, comparison.best(method)): [one.error.tolist() for one in found[method]] for method in _TRIED
    }
    text = _network_told(plan, course) + _HOW.format(**dataclasses.asdict(course.schooling))
    return Section(f"continual-{course.key}", course.name, text, _HEADINGS, rows, [], values)


def _reported(plan: Plan, course: Course) -> dict[str, list[TasksInTurn]]:
    comparison = _comparison(plan, course)
    return {method: comparison.reported(method) for method in _TRIED}


def _network_told(plan: Plan, course: Course) -> str:
    settings = _settings(plan, course, 0)
    if settings.network == "cifar-cnn":
        return "The CNN of the paper. "
    return f"Two hidden layers of {settings.hidden[0]}, with biases. "


def _row(method: str, strength: str, found: Sequence[TasksInTurn], reference: Sequence[TasksInTurn]) -> list[str]:
    return [
        rival_name(method),
        mean_with_spread(_accuracies(found)),
        "–" if method == _REFERENCE else mean_with_interval(_ahead(found, reference)),
        mean_with_spread([100 * one.backward_transfer for one in found]),
        mean_with_spread([100 * one.forgetting for one in found]),
        strength,
        f"{_stored(found):.3g}",
        f"{_time(found):.1f}",
    ]


def _accuracy_told(found: Sequence[TasksInTurn], reference: Sequence[TasksInTurn]) -> str:
    low, high = seed_interval(_ahead(found, reference))
    verdict = ", ahead" if low > 0 else ", behind" if high < 0 else ""
    return mean_with_spread(_accuracies(found)) + verdict


def _accuracies(found: Sequence[TasksInTurn]) -> list[float]:
    return [100 * (1 - one.average_error) for one in found]


def _ahead(found: Sequence[TasksInTurn], reference: Sequence[TasksInTurn]) -> list[float]:
    """In points, seed by seed."""
    return [a - b for a, b in zip(_accuracies(found), _accuracies(reference), strict=True)]


def _stored(found: Sequence[TasksInTurn]) -> float:
    return statistics.median(one.stored_over_weights for one in found)


def _time(found: Sequence[TasksInTurn]) -> float:
    return statistics.median(float((one.seconds + one.keeping_seconds).mean()) for one in found)


def _range(values: Sequence[float], form: str) -> str:
    ends = dict.fromkeys(f"{value:{form}}" for value in (min(values), max(values)))
    return " – ".join(ends)
