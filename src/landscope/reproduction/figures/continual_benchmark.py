"""A benchmark of continual learning: its tasks, its network, how each task is learnt, and methods compared in it."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from torch import nn

from landscope.reproduction.experiment.experiment import Experiment
from landscope.reproduction.experiment.networks import cifar_cnn, mlp
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures.figure import Plan
from landscope.reproduction.figures.method_comparison import MethodComparison
from landscope.reproduction.sequential.continual_result import ContinualResult
from landscope.reproduction.sequential.methods import MethodSettings
from landscope.reproduction.sequential.scenarios import n_outputs, permuted_scenario, split_scenario
from landscope.reproduction.sequential.task_data import SelectedOutputs, Task
from landscope.reproduction.sequential.trainer import train_sequentially
from landscope.reproduction.sequential.training import OptimizerName, TaskTraining
from landscope.reproduction.sequential.tuning import Seeds

__all__ = ["ContinualBenchmark", "comparison_of", "experiment_of"]

_GROUPS = ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))
_TRIED_EVERYWHERE = ("gpm",)
"""Methods whose strengths (thresholds) do not depend on the benchmark."""
_WITHOUT_HEADS = ("gaussians",)
"""Methods that cannot answer by the head of the task that a sample is of."""


@dataclasses.dataclass(frozen=True)
class ContinualBenchmark:
    """A scenario on a data set.

    Args:
        key: Key of its runs.
        name: Name for a table.
        kind: Kind of the split, or ``"permuted"``.
        changes: Changes of the shared settings.
        strengths: First and last of the strengths of each method to try: strong ones where outputs are shared, weak
            ones where tasks have little in common.
        epochs: Epochs of each task.
        n_modes: Directions constrained for each task.
        window: Last steps of a task in which its modes are found.
        rank: Directions that all tasks together may keep.
        max_samples: Samples of a task on which its loss is measured.
        optimizer_name: The optimiser.
        learning_rate: alpha.
        n_tasks: Number of orders of the inputs, where they are permuted.
        batch_norm: Whether each hidden layer of the perceptron is normalised over the minibatch, without weights.
    """

    key: str
    name: str
    kind: Literal["task", "domain", "class", "permuted"]
    changes: Mapping[str, Any] = dataclasses.field(default_factory=lambda: {"hidden": (50, 50)})
    strengths: tuple[int, int | None] = (2, None)
    epochs: int = 2
    n_modes: int = 50
    window: int = 200
    rank: int = 100
    max_samples: int = 1000
    optimizer_name: OptimizerName = "sgd"
    learning_rate: float = 0.1
    n_tasks: int = 5
    batch_norm: bool = False

    def training(self, seed: int) -> TaskTraining:
        """How every task is learnt."""
        return TaskTraining(
            epochs=self.epochs, window_epochs=0, max_samples=self.max_samples, seed=seed,
            learning_rate=self.learning_rate, optimizer_name=self.optimizer_name,
        )  # fmt: skip

    def scenario(self, experiment: Experiment) -> list[Task]:
        """The tasks."""
        train, test = experiment.train_data, experiment.test_data
        if self.kind == "permuted":
            return permuted_scenario(train, test, self.n_tasks, seed=0)
        return split_scenario(train, test, _GROUPS, self.kind)

    def network(self, experiment: Experiment, n_outputs: int, seed: int) -> nn.Module:
        """The network."""
        shape = tuple(experiment.train_data[0].shape[1:])
        if experiment.settings.network == "cifar-cnn":
            return cifar_cnn((shape[0], shape[1], shape[2]), n_outputs, seed=seed)
        sizes = [math.prod(shape), *experiment.settings.hidden, n_outputs]
        return mlp(sizes, bias=True, seed=seed, batch_norm=self.batch_norm)

    def method(self, method: str) -> MethodSettings:
        """A method with the sizes of this benchmark."""
        return MethodSettings(method, n_modes=self.n_modes, rank=self.rank, window=self.window)


def comparison_of(
    plan: Plan, benchmark: ContinualBenchmark, tried: Mapping[str, Sequence[float]], seeds: Seeds, key: str
) -> MethodComparison:
    """Methods in a benchmark, each at a strength that tuning seeds choose.

    Args:
        plan: Plan of the reproduction.
        benchmark: The benchmark.
        tried: Strengths to try, by method.
        seeds: Numbers of reported and tuning seeds.
        key: Key of the figure, the first part of the key of the runs.
    """
    training = {name: value for name, value in benchmark.training(0).settings().items() if name != "seed"}
    numbers = {**training, "window": benchmark.window}
    chosen = slice(*benchmark.strengths)
    strengths = {
        benchmark.method(method): values if len(values) == 1 or method in _TRIED_EVERYWHERE else values[chosen]
        for method, values in tried.items()
        if benchmark.kind != "task" or method not in _WITHOUT_HEADS
    }
    return MethodComparison(
        plan, f"{key}-{benchmark.key}", seeds, strengths, functools.partial(_prepare, benchmark), numbers,
        benchmark.changes,
    )  # fmt: skip


@functools.lru_cache(maxsize=1)
def experiment_of(settings: Settings) -> Experiment:
    """One experiment for all seeds: the data are read once."""
    return Experiment(settings)


def _prepare(benchmark: ContinualBenchmark, settings: Settings) -> Callable[[MethodSettings], ContinualResult]:
    experiment, seed = experiment_of(Settings.of({**settings.model_dump(), "seed": 0})), settings.seed
    tasks = benchmark.scenario(experiment)

    def learn(method: MethodSettings) -> ContinualResult:
        model = SelectedOutputs(benchmark.network(experiment, n_outputs(tasks), seed))
        return train_sequentially(model, tasks, method, benchmark.training(seed))

    return learn
