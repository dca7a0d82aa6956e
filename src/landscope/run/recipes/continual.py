"""Tasks in turn where the field measures: split and permuted sets, all layers trained, many ways to keep tasks."""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from torch import nn

from landscope.continual import Scenario, Schooling, learn_scenario, permuted_scenario, rival_name, split_scenario
from landscope.networks import cifar_cnn, mlp
from landscope.run.folder import RunFolder
from landscope.run.jobs import Job
from landscope.run.problem import Problem
from landscope.run.progress import Reporter
from landscope.run.recipes.recipe import Plan, Section, mean_with_spread
from landscope.run.recipes.strengths import Comparison, Seeds, trial_name
from landscope.settings import Settings
from landscope.tasks import TasksInTurn

__all__ = ["Continual"]

_SEEDS = Seeds(reported=5, tuning=2)
_GROUPS = ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))
_NONE = (math.nan,)
_TRIED: Mapping[str, tuple[float, ...]] = {
    "none": _NONE, "ldc": (10.0, 100.0, 1e3), "ldc-floor": (0.04, 0.4, 4.0, 40.0),
    "ldc-psi4-factored": (4.0, 40.0, 400.0, 4e3), "ewc": (1e2, 1e3, 1e4, 1e5), "kfac": (1e1, 1e2, 1e3, 1e4, 1e5),
    "si": (1.0, 10.0, 100.0, 1e3), "mas": (0.1, 1.0, 10.0), "l2": (1e-2, 1e-1, 1.0, 10.0),
    "gpm": (0.8, 0.9, 0.97, 0.99), "ogd": _NONE, "replay": _NONE, "joint": _NONE,
}  # fmt: skip
"""Strengths that are tried; of GPM, thresholds."""
_HEADINGS = (
    "method", "average accuracy (%)", "backward transfer (points)", "forgetting (points)", "strength",
    "stored / weights", "seconds a task",
)  # fmt: skip
_TEXT = (
    "All layers are trained from the beginning, by plain SGD; nothing of later tasks is known before. Task- "
    "incremental: the task of a test sample is known, and what tasks share is held, all layers but the last. "
    "Domain-incremental: all tasks share their outputs. Class-incremental: the class among all of all tasks is "
    "asked for. Accuracy over all tasks after the last, backward transfer and forgetting by their usual "
    "definitions, mean and standard deviation over {reported} seeds; strengths of the best average test accuracy on "
    "{tuning} other seeds. Penalties are taken as implicit steps. Those of all tasks together are kept in bounded "
    "memory: directions to {rank}, Kronecker products (factored LDC and EWC) as the nearest one. SI and MAS hold each "
    "task where it ended, as EWC does. Stored: numbers kept at the end, samples included, over the number of weights; "
    "LDC records its window besides, SI two numbers a weight, while a task is learnt. Seconds were measured beside "
    "whatever else the machine did. van de Ven & Tolias (arXiv 1904.07734) found 98.64 / 63.95 / 20.01 for EWC, 99.09 "
    "/ 65.36 / 19.99 for SI, 87.19 / 59.21 / 19.90 without anything and 99.66 / 98.42 / 97.94 for joint training on "
    "split MNIST (task, domain, class), with two hidden layers of 400, Adam, and 2,000 minibatches of 128 a task, some "
    "ten times as much training as here."
)
_HOW = (
    "Each task for {epochs} epochs of minibatches of {batch_size}, learning rate {learning_rate:g}. LDC holds "
    "{n_modes} modes of the last {window} steps of a task; losses and Fisher information are measured on "
    "{max_samples} of its samples."
)


@dataclasses.dataclass(frozen=True)
class _Course:
    """A scenario on a data set.

    Args:
        key: Of its runs.
        name: What a table says.
        kind: Of the split, or ``"permuted"``.
        schooling: How every task is learnt.
        changes: Of the shared settings.
    """

    key: str
    name: str
    kind: Literal["task", "domain", "class", "permuted"]
    schooling: Schooling
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def scenario(self, problem: Problem) -> Scenario:
        """The tasks."""
        train, test = problem.train_data, problem.test_data
        if self.kind == "permuted":
            return permuted_scenario(train, test, len(_GROUPS), seed=0)
        return split_scenario(train, test, _GROUPS, self.kind)

    def network(self, problem: Problem, seed: int) -> Callable[[int], nn.Module]:
        """The network for a number of outputs."""
        shape = tuple(problem.train_data[0].shape[1:])
        if problem.settings.network == "cifar-cnn":
            return lambda n_outputs: cifar_cnn((shape[0], shape[1], shape[2]), n_outputs, seed=seed)
        return lambda n_outputs: mlp([math.prod(shape), *problem.settings.hidden, n_outputs], bias=True, seed=seed)


_TWICE = Schooling(epochs=2)
"""So that the window begins after a task is learnt."""
_CIFAR = Schooling(epochs=2, learning_rate=0.05, max_samples=300)
_MLP = {"hidden": (50, 50)}
_CNN = {"data": "cifar10", "network": "cifar-cnn"}
COURSES = (
    _Course("task", "Split MNIST, task-incremental", "task", _TWICE, _MLP),
    _Course("domain", "Split MNIST, domain-incremental", "domain", _TWICE, _MLP),
    _Course("class", "Split MNIST, class-incremental", "class", _TWICE, _MLP),
    _Course("permuted", "Permuted MNIST, five orders", "permuted", Schooling(), _MLP),
    _Course("cifar-task", "Split CIFAR-10, task-incremental", "task", _CIFAR, _CNN),
)


class Continual:
    """One job a scenario and seed: strengths on two seeds, then every method at its best on others."""

    key = "continual"
    title = "Tasks in turn where the field measures"

    def jobs(self, plan: Plan) -> list[Job]:
        """One job a scenario and seed."""
        return [
            job
            for course in _courses(plan)
            for job in _comparison(plan, course).jobs(functools.partial(_name, course), _run, plan, course)
        ]

    def sections(self, plan: Plan) -> list[Section]:
        """One table a scenario."""
        return [_section(plan, number, course) for number, course in enumerate(_courses(plan))]


def _courses(plan: Plan) -> Sequence[_Course]:
    """A quick reproduction has the digits, with and without the task known, and names them so."""
    if not plan.quick:
        return COURSES
    short = Schooling(epochs=20, window=100, n_modes=20, rank=40)
    quick = [dataclasses.replace(course, schooling=short) for course in COURSES if course.key in ("task", "class")]
    return [dataclasses.replace(course, name=course.name.replace("MNIST", "digits")) for course in quick]


def _name(course: _Course, seed: int) -> str:
    return f"continual-{course.key}-seed{seed}"


def _run(reporter: Reporter, plan: Plan, course: _Course, seed: int) -> None:
    def begin() -> Callable[[str, float], TasksInTurn]:
        problem = _problem(_settings(plan, course, 0))
        scenario, network = course.scenario(problem), course.network(problem, seed)
        return lambda method, strength: learn_scenario(
            scenario, network, method, strength=strength, schooling=course.schooling, seed=seed
        )

    _comparison(plan, course).learn(reporter, _folder(plan, course, seed), seed, _artefact, begin)


def _comparison(plan: Plan, course: _Course) -> Comparison[str, TasksInTurn]:
    load = functools.partial(_load, plan, course)
    return Comparison(plan, _SEEDS, _TRIED, load, lambda found: found.average_error)


def _settings(plan: Plan, course: _Course, seed: int) -> Settings:
    return plan.settings_with(**course.changes, seed=seed)


def _folder(plan: Plan, course: _Course, seed: int) -> RunFolder:
    return RunFolder.create(plan.run_path(_name(course, seed)), _settings(plan, course, seed))


@functools.lru_cache(maxsize=1)
def _problem(settings: Settings) -> Problem:
    """Of all seeds: the data are read once."""
    return Problem(settings)


_artefact = functools.partial(trial_name, "continual")


def _load(plan: Plan, course: _Course, seed: int, method: str, strength: float) -> TasksInTurn:
    return _folder(plan, course, seed).load(_artefact(method, strength), TasksInTurn)


def _section(plan: Plan, number: int, course: _Course) -> Section:
    rows, values, comparison = [], {}, _comparison(plan, course)
    for method in _TRIED:
        found = comparison.reported(method)
        rows.append(_row(method, comparison.shown(method), found))
        values[_artefact(method, comparison.best(method))] = [one.error.tolist() for one in found]
    counts = {"reported": len(_SEEDS.reported_of(plan)), "tuning": len(_SEEDS.tuning_of(plan))}
    settings = dataclasses.asdict(course.schooling)
    text = (_TEXT + " " if number == 0 else "") + _network_told(plan, course) + _HOW
    text = text.format(**settings, **counts)
    return Section(f"continual-{course.key}", course.name, text, _HEADINGS, rows, [], values, None)


def _network_told(plan: Plan, course: _Course) -> str:
    settings = _settings(plan, course, 0)
    if settings.network == "cifar-cnn":
        return "The CNN of the paper. "
    return f"Two hidden layers of {settings.hidden[0]}, with biases. "


def _row(method: str, strength: str, found: Sequence[TasksInTurn]) -> list[str]:
    return [
        rival_name(method),
        mean_with_spread([100 * (1 - one.average_error) for one in found]),
        mean_with_spread([100 * one.backward_transfer for one in found]),
        mean_with_spread([100 * one.forgetting for one in found]),
        strength,
        f"{statistics.median(one.stored_over_weights for one in found):.2g}",
        f"{statistics.median(float((one.seconds + one.keeping_seconds).mean()) for one in found):.1f}",
    ]
