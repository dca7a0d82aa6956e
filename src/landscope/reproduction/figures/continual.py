"""Standard continual-learning benchmarks: split and permuted data, all layers trained, many methods."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from landscope.reproduction.figures.continual_benchmark import ContinualBenchmark, comparison_of
from landscope.reproduction.figures.continual_tables import continual_sections
from landscope.reproduction.figures.figure import Plan, Section
from landscope.reproduction.figures.method_comparison import NO_STRENGTH, MethodComparison
from landscope.reproduction.jobs import Job
from landscope.reproduction.sequential.tuning import Seeds

__all__ = ["benchmarks", "jobs", "key", "sections", "title"]

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


key = "continual"
title = "Standard continual-learning benchmarks"


def jobs(plan: Plan) -> list[Job]:
    """One job a benchmark and seed."""
    return [job for _, comparison in _comparisons(plan) for job in comparison.jobs()]


def sections(plan: Plan) -> list[Section]:
    """All benchmarks in one table, then one table each."""
    text = _TEXT.format(rank=benchmarks(plan)[0].rank, **_SEEDS.counts_of(plan))
    return continual_sections(key, title, text, _comparisons(plan))


def benchmarks(plan: Plan) -> tuple[ContinualBenchmark, ...]:
    """The scenarios of a plan."""
    return _QUICK if plan.quick else _BENCHMARKS


def _comparisons(plan: Plan) -> list[tuple[ContinualBenchmark, MethodComparison]]:
    return [(each, comparison_of(plan, each, _STRENGTHS, _SEEDS, key)) for each in benchmarks(plan)]
