"""Scenarios on data sets that tasks in turn are measured in, and how each of their tasks is learnt."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from torch import nn

from landscope.reproduction.experiment.experiment import Experiment
from landscope.reproduction.experiment.networks import cifar_cnn, mlp
from landscope.reproduction.figures.figure import Plan
from landscope.reproduction.sequential.scenario_training import Schooling
from landscope.reproduction.sequential.scenarios import Scenario, permuted_scenario, split_scenario

__all__ = ["COURSES", "Course", "courses_of"]

_GROUPS = ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))


@dataclasses.dataclass(frozen=True)
class Course:
    """A scenario on a data set.

    Args:
        key: Of its runs.
        name: What a table says.
        kind: Of the split, or ``"permuted"``.
        schooling: How every task is learnt.
        changes: Of the shared settings.
        strengths: From and to which of each method they are tried: the strongest where outputs are shared, the
            weakest where tasks have little in common.
    """

    key: str
    name: str
    kind: Literal["task", "domain", "class", "permuted"]
    schooling: Schooling
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    strengths: tuple[int, int | None] = (2, None)

    def scenario(self, problem: Experiment) -> Scenario:
        """The tasks."""
        train, test = problem.train_data, problem.test_data
        if self.kind == "permuted":
            return permuted_scenario(train, test, len(_GROUPS), seed=0)
        return split_scenario(train, test, _GROUPS, self.kind)

    def network(self, problem: Experiment, seed: int) -> Callable[[int], nn.Module]:
        """The network for a number of outputs."""
        shape = tuple(problem.train_data[0].shape[1:])
        if problem.settings.network == "cifar-cnn":
            return lambda n_outputs: cifar_cnn((shape[0], shape[1], shape[2]), n_outputs, seed=seed)
        return lambda n_outputs: mlp([math.prod(shape), *problem.settings.hidden, n_outputs], bias=True, seed=seed)


_TWICE = Schooling(epochs=2)
"""So that the window begins after a task is learnt."""
_CIFAR = Schooling(epochs=2, max_samples=300)
_MLP = {"hidden": (50, 50)}
_CNN = {"data": "cifar10", "network": "cifar-cnn"}
COURSES = (
    Course("task", "Split MNIST, task-incremental", "task", _TWICE, _MLP, strengths=(1, -1)),
    Course("domain", "Split MNIST, domain-incremental", "domain", _TWICE, _MLP),
    Course("class", "Split MNIST, class-incremental", "class", _TWICE, _MLP, strengths=(2, -1)),
    Course("permuted", "Permuted MNIST, five orders", "permuted", Schooling(), _MLP, strengths=(0, 4)),
    Course("cifar-task", "Split CIFAR-10, task-incremental", "task", _CIFAR, _CNN, strengths=(1, 7)),
)


def courses_of(plan: Plan) -> Sequence[Course]:
    """A quick reproduction has the digits, with and without the task known, and names them so."""
    if not plan.quick:
        return COURSES
    short = Schooling(epochs=20, window=100, n_modes=20, rank=40)
    quick = [dataclasses.replace(course, schooling=short) for course in COURSES if course.key in ("task", "class")]
    return [dataclasses.replace(course, name=course.name.replace("MNIST", "digits")) for course in quick]
