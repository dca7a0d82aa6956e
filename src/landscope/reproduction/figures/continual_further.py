"""Where a penalty may fail: other optimisers, batch normalisation, wide networks and long sequences of tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from landscope.reproduction.figures.continual_benchmark import ContinualBenchmark, comparison_of
from landscope.reproduction.figures.continual_tables import continual_sections
from landscope.reproduction.figures.figure import Plan, Section
from landscope.reproduction.figures.method_comparison import NO_STRENGTH, MethodComparison
from landscope.reproduction.jobs import Job
from landscope.reproduction.sequential.tuning import Seeds

__all__ = ["jobs", "key", "sections", "title"]

_STRENGTHS: Mapping[str, tuple[float, ...]] = {
    "none": NO_STRENGTH, "basin-default": (1.0,), "kfac": (1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7),
    "ewc": (10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7), "replay": NO_STRENGTH,
}  # fmt: skip
_SEEDS = Seeds(reported=3, tuning=1)
_TEXT = (
    "The standard benchmark of shared outputs (domain-incremental) and of permuted inputs, each with one thing "
    "changed. The basin has its default, nothing tuned; EWC has the strength of the best average accuracy on the same "
    "test samples over {tuning} other seed. Accuracy over all tasks after the last, mean and standard deviation over "
    "{reported} seeds. Ahead and behind: of Kronecker EWC, seed by seed, where the 95 % interval of the mean "
    "difference does not reach zero. With batch normalisation, the penalties keep the running statistics of the first "
    "task, while without a memory and under replay they follow each task."
)
_ALL = (0, None)
_BENCHMARKS = (
    ContinualBenchmark(
        "momentum", "Momentum 0.9", "domain", optimizer_name="momentum", learning_rate=0.01, strengths=_ALL
    ),
    ContinualBenchmark("adamw", "AdamW", "domain", optimizer_name="adamw", learning_rate=1e-3, strengths=_ALL),
    ContinualBenchmark(
        "batch-norm", "Batch normalisation", "domain", learning_rate=0.02, batch_norm=True, strengths=_ALL
    ),
    ContinualBenchmark("wide", "Width 400", "domain", {"hidden": (400, 400)}, strengths=_ALL),
    ContinualBenchmark("twenty", "Permuted MNIST, twenty orders", "permuted", n_tasks=20, epochs=1, strengths=_ALL),
)
_QUICK = tuple(
    dataclasses.replace(benchmark, name=benchmark.name.replace("MNIST", "digits"), epochs=20, n_tasks=3)
    for benchmark in _BENCHMARKS
    if benchmark.key in ("adamw", "batch-norm")
)
"""A quick reproduction has the digits, with Adam and with batch normalisation."""


key = "continual-further"
title = "Continual learning with other optimisers, networks and numbers of tasks"


def jobs(plan: Plan) -> list[Job]:
    """One job a benchmark and seed."""
    return [job for _, comparison in _comparisons(plan) for job in comparison.jobs()]


def sections(plan: Plan) -> list[Section]:
    """All benchmarks in one table, then one table each."""
    return continual_sections(key, title, _TEXT.format(**_SEEDS.counts_of(plan)), _comparisons(plan))


def _comparisons(plan: Plan) -> list[tuple[ContinualBenchmark, MethodComparison]]:
    benchmarks = _QUICK if plan.quick else _BENCHMARKS
    return [(each, comparison_of(plan, each, _STRENGTHS, _SEEDS, key)) for each in benchmarks]
