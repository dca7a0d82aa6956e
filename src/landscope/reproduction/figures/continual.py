"""Standard continual-learning benchmarks: split and permuted data, all layers trained, many methods."""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from torch import nn

from landscope.law.intervals import mean_with_interval, mean_with_spread, seed_interval
from landscope.reproduction.experiment.experiment import Experiment
from landscope.reproduction.experiment.networks import cifar_cnn, mlp
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures.figure import Plan, Section, table
from landscope.reproduction.figures.method_comparison import NO_STRENGTH, MethodComparison
from landscope.reproduction.jobs import Job
from landscope.reproduction.sequential.continual_result import ContinualResult
from landscope.reproduction.sequential.methods import MethodSettings, method_label
from landscope.reproduction.sequential.scenarios import n_outputs, permuted_scenario, split_scenario
from landscope.reproduction.sequential.task_data import SelectedOutputs, Task
from landscope.reproduction.sequential.trainer import train_sequentially
from landscope.reproduction.sequential.training import TaskTraining
from landscope.reproduction.sequential.tuning import Seeds

__all__ = ["ContinualBenchmark", "benchmarks", "experiment_of", "jobs", "key", "sections", "title"]

_GROUPS = ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))
_STRENGTHS: Mapping[str, tuple[float, ...]] = {
    "none": NO_STRENGTH, "ldc-no-floor": (0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5),
    "ldc-floor": (4e-4, 0.004, 0.04, 0.4, 4.0, 40.0, 400.0),
    "ldc-variance-factored": (0.04, 0.4, 4.0, 40.0, 400.0, 4e3, 4e4, 4e5, 4e6),
    "basin-default": (1.0,), "basin-fixed": (1.0,), "basin": (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3),
    "ewc": (1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6),
    "kfac": (0.1, 1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7),
    "kfac-following": (0.1, 1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7),
    "si": (0.01, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4),
    "mas": (1e-3, 0.01, 0.1, 1.0, 10.0, 100.0, 1e3), "l2": (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0),
    "gpm": (0.5, 0.65, 0.8, 0.9, 0.97, 0.99), "ogd": NO_STRENGTH, "replay": NO_STRENGTH, "gaussians": NO_STRENGTH,
    "joint": NO_STRENGTH,
}  # fmt: skip
_TRIED_EVERYWHERE = ("gpm",)
"""Methods whose strengths (thresholds) do not depend on the benchmark."""
_WITHOUT_HEADS = ("gaussians",)
"""Methods that cannot answer by the head of the task that a sample is of."""
_REFERENCE = "kfac"
"""The method that the others are compared with."""
_SEEDS = Seeds(reported=5, tuning=2)
_TEXT = (
    "All layers are trained from the beginning, by plain SGD; nothing of later tasks is known before. "
    "Task-incremental: the task of a test sample is known, and penalties hold all layers but the last, which tasks "
    "share. Domain-incremental: all tasks share their outputs. Class-incremental: the class among all classes of all "
    "tasks is asked for. Accuracy over all tasks after the last, backward transfer and forgetting by their usual "
    "definitions, mean and standard deviation over {reported} seeds; strengths of the best average accuracy on the "
    "same test samples over {tuning} other seeds. Ahead and behind: of Kronecker EWC at its best strength, seed by "
    "seed, where the 95 % interval of the mean difference does not reach zero. Penalties are taken as implicit steps. "
    "Penalties of all tasks together have bounded memory: directions are merged to {rank}, Kronecker products "
    "(factored LDC and EWC) to the nearest one. SI and MAS hold each task where it ended, as EWC does. Stored: numbers "
    "stored at the end, samples included, over the number of weights; while a task is learnt, LDC also records its "
    "window, and SI two numbers a weight. Seconds were measured while other work ran on the machine. "
    "van de Ven & Tolias (arXiv 1904.07734) found 98.64 / 63.95 / 20.01 for EWC, 99.09 / 65.36 / 19.99 for SI, 87.19 / "
    "59.21 / 19.90 without any method and 99.66 / 98.42 / 97.94 for joint training on split MNIST (task, domain, "
    "class), with two hidden layers of 400, Adam, and 2,000 minibatches of 128 a task, some ten times as much training "
    "as here."
)
_HOW = (
    "Each task for {epochs} epochs of minibatches of {batch_size}, learning rate {learning_rate:g}. LDC holds "
    "{n_modes} modes of the last {window} steps of a task; losses and Fisher information are measured on "
    "{max_samples} of its samples."
)


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

    def training(self, seed: int) -> TaskTraining:
        """How every task is learnt."""
        return TaskTraining(epochs=self.epochs, window_epochs=0, max_samples=self.max_samples, seed=seed)

    def scenario(self, experiment: Experiment) -> list[Task]:
        """The tasks."""
        train, test = experiment.train_data, experiment.test_data
        if self.kind == "permuted":
            return permuted_scenario(train, test, len(_GROUPS), seed=0)
        return split_scenario(train, test, _GROUPS, self.kind)

    def network(self, experiment: Experiment, n_outputs: int, seed: int) -> nn.Module:
        """The network."""
        shape = tuple(experiment.train_data[0].shape[1:])
        if experiment.settings.network == "cifar-cnn":
            return cifar_cnn((shape[0], shape[1], shape[2]), n_outputs, seed=seed)
        return mlp([math.prod(shape), *experiment.settings.hidden, n_outputs], bias=True, seed=seed)

    def method(self, method: str) -> MethodSettings:
        """A method with the sizes of this benchmark."""
        return MethodSettings(method, n_modes=self.n_modes, rank=self.rank, window=self.window)


_CNN = {"data": "cifar10", "network": "cifar-cnn"}
_BENCHMARKS = (  # two epochs, so that the window begins after a task is learnt
    ContinualBenchmark("task", "Split MNIST, task-incremental", "task", strengths=(1, -1)),
    ContinualBenchmark("domain", "Split MNIST, domain-incremental", "domain"),
    ContinualBenchmark("class", "Split MNIST, class-incremental", "class", strengths=(2, -1)),
    ContinualBenchmark("permuted", "Permuted MNIST, five orders", "permuted", strengths=(0, 4), epochs=1),
    ContinualBenchmark(
        "cifar-task", "Split CIFAR-10, task-incremental", "task", _CNN, strengths=(1, 7), max_samples=300
    ),
)
_QUICK = tuple(
    dataclasses.replace(
        benchmark, name=benchmark.name.replace("MNIST", "digits"), epochs=20, window=100, n_modes=20, rank=40
    )
    for benchmark in _BENCHMARKS
    if benchmark.key in ("task", "class")
)
"""A quick reproduction has the digits, with and without the task known."""


_Results = Mapping[str, Sequence[ContinualResult]]
"""Results of the reported seeds, by method."""


key = "continual"
title = "Standard continual-learning benchmarks"


def jobs(plan: Plan) -> list[Job]:
    """One job a benchmark and seed."""
    return [job for _, comparison in _comparisons(plan) for job in comparison.jobs()]


def sections(plan: Plan) -> list[Section]:
    """All benchmarks in one table, then one table each."""
    comparisons = _comparisons(plan)
    results = [_reported(comparison) for _, comparison in comparisons]
    overview = _overview(plan, [benchmark for benchmark, _ in comparisons], results)
    return [overview, *(_section(*pair, by_method) for pair, by_method in zip(comparisons, results, strict=True))]


def benchmarks(plan: Plan) -> tuple[ContinualBenchmark, ...]:
    """The scenarios of a plan."""
    return _QUICK if plan.quick else _BENCHMARKS


def _comparisons(plan: Plan) -> list[tuple[ContinualBenchmark, MethodComparison]]:
    return [(benchmark, _comparison(plan, benchmark)) for benchmark in benchmarks(plan)]


def _comparison(plan: Plan, benchmark: ContinualBenchmark) -> MethodComparison:
    training = {name: value for name, value in benchmark.training(0).settings().items() if name != "seed"}
    numbers = {**training, "window": benchmark.window}
    chosen = slice(*benchmark.strengths)
    strengths = {
        benchmark.method(method): tried if len(tried) == 1 or method in _TRIED_EVERYWHERE else tried[chosen]
        for method, tried in _STRENGTHS.items()
        if benchmark.kind != "task" or method not in _WITHOUT_HEADS
    }
    return MethodComparison(
        plan, f"continual-{benchmark.key}", _SEEDS, strengths, functools.partial(_prepare, benchmark), numbers,
        benchmark.changes,
    )  # fmt: skip


def _overview(plan: Plan, compared: Sequence[ContinualBenchmark], results: Sequence[_Results]) -> Section:
    """Methods x benchmarks."""
    columns: dict[str, Callable[[str], str]] = {"method": method_label}
    for benchmark, runs in zip(compared, results, strict=True):
        columns[benchmark.name] = lambda method, runs=runs: (
            _accuracy_cell(runs[method], runs[_REFERENCE]) if method in runs else "–"
        )
    columns["stored / weights"] = lambda method: _range(
        (_stored(runs[method]) for runs in results if method in runs), ".3g"
    )
    columns["seconds a task"] = lambda method: _range(
        (_seconds(runs[method]) for runs in results if method in runs), ".1f"
    )
    text = _TEXT.format(rank=compared[0].rank, **_SEEDS.counts_of(plan))
    return Section(key, f"{title}: average accuracy (%)", text, *table(columns, _STRENGTHS), [], {})


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


def _reported(comparison: MethodComparison) -> _Results:
    return {row.method: results for row, results in comparison.results().items()}


def _section(benchmark: ContinualBenchmark, comparison: MethodComparison, results: _Results) -> Section:
    strengths = {row.method: str(comparison.tuner.best(row)) for row in comparison.strengths}
    columns: dict[str, Callable[[str], str]] = {
        "method": method_label,
        "average accuracy (%)": lambda method: mean_with_spread(_accuracies(results[method])),
        "ahead of Kronecker EWC by (points)": lambda method: (
            "–" if method == _REFERENCE else mean_with_interval(_differences(results[method], results[_REFERENCE]))
        ),
        "backward transfer (points)": lambda m: mean_with_spread([100 * r.backward_transfer for r in results[m]]),
        "forgetting (points)": lambda m: mean_with_spread([100 * result.forgetting for result in results[m]]),
        "strength": lambda method: strengths[method],
        "stored / weights": lambda method: f"{_stored(results[method]):.3g}",
        "seconds a task": lambda method: f"{_seconds(results[method]):.1f}",
    }
    settings = comparison.settings(0)
    is_cnn = settings.network == "cifar-cnn"
    network = "The CNN of the paper. " if is_cnn else f"Two hidden layers of {settings.hidden[0]}, with biases. "
    text = network + _HOW.format(**vars(benchmark.training(0)) | vars(benchmark))
    return Section(comparison.key, benchmark.name, text, *table(columns, results), [], comparison.values())


def _accuracy_cell(results: Sequence[ContinualResult], reference: Sequence[ContinualResult]) -> str:
    low, high = seed_interval(_differences(results, reference))
    verdict = ", ahead" if low > 0 else ", behind" if high < 0 else ""
    return mean_with_spread(_accuracies(results)) + verdict


def _accuracies(results: Sequence[ContinualResult]) -> list[float]:
    return [result.average_accuracy for result in results]


def _differences(results: Sequence[ContinualResult], reference: Sequence[ContinualResult]) -> list[float]:
    """Accuracy minus that of the reference in points, seed by seed."""
    return [a - b for a, b in zip(_accuracies(results), _accuracies(reference), strict=True)]


def _stored(results: Sequence[ContinualResult]) -> float:
    return statistics.median(result.stored_over_weights for result in results)


def _seconds(results: Sequence[ContinualResult]) -> float:
    return statistics.median(result.seconds_per_task for result in results)


def _range(found: Iterable[float], form: str) -> str:
    values = list(found)
    ends = dict.fromkeys(f"{value:{form}}" for value in (min(values), max(values)))
    return " – ".join(ends)
