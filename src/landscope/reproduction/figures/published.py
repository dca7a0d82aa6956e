"""Published protocols of continual learning with our method in place: their numbers, and ours."""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Callable, Sequence

from landscope.law.intervals import mean_with_interval, mean_with_spread
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures.continual_benchmark import experiment_of
from landscope.reproduction.figures.figure import Plan, Section, table
from landscope.reproduction.figures.method_comparison import MethodComparison
from landscope.reproduction.jobs import Job
from landscope.reproduction.sequential.continual_result import ContinualResult
from landscope.reproduction.sequential.methods import MethodSettings, method_label
from landscope.reproduction.sequential.published import PROTOCOLS, PublishedProtocol
from landscope.reproduction.sequential.trainer import train_sequentially
from landscope.reproduction.sequential.tuning import Seeds

__all__ = ["jobs", "key", "sections", "title"]

_SEEDS = Seeds(reported=3, tuning=0)
_TEXT = (
    "Protocols that others published, with the basin at its default strength in place of their methods. Average "
    "accuracy over all tasks after the last, in percent: published as mean ± standard deviation, ours over {reported} "
    "seeds; behind it, with a 95 % interval over seeds, the difference from the method of the first row, seed by seed. "
    "Nothing is tuned here; strengths of EWC are the published ones."
)
_QUICK = tuple(
    dataclasses.replace(
        protocol, name=protocol.name.replace("MNIST", "digits"), hidden=(12,), n_tasks=3,
        training=dataclasses.replace(protocol.training, epochs=30),
    )
    for protocol in PROTOCOLS
    if protocol.key in ("published-hsu-class", "published-avalanche-permuted")
)  # fmt: skip
"""A quick reproduction has the digits in one protocol of each source."""


key = "published"
title = "Published protocols"


def jobs(plan: Plan) -> list[Job]:
    """One job a protocol and seed."""
    return [job for protocol in _protocols(plan) for job in _comparison(plan, protocol).jobs()]


def sections(plan: Plan) -> list[Section]:
    """One table a protocol."""
    found = [_section(protocol, _comparison(plan, protocol)) for protocol in _protocols(plan)]
    text = _TEXT.format(**_SEEDS.counts_of(plan))
    first = dataclasses.replace(found[0], text=f"{text}\n\n{found[0].text}")
    return [first, *found[1:]]


def _protocols(plan: Plan) -> Sequence[PublishedProtocol]:
    return _QUICK if plan.quick else PROTOCOLS


def _comparison(plan: Plan, protocol: PublishedProtocol) -> MethodComparison:
    numbers = {name: value for name, value in protocol.training.settings().items() if name != "seed"}
    strengths = {method: (method.value,) for method, _ in protocol.rows}
    return MethodComparison(
        plan, protocol.key, _SEEDS, strengths, functools.partial(_prepare, protocol), numbers, protocol.changes
    )


def _prepare(protocol: PublishedProtocol, settings: Settings) -> Callable[[MethodSettings], ContinualResult]:
    data = {name: getattr(settings, name) for name in ("data", "train_samples", "device")}
    tasks, seed = protocol.tasks(experiment_of(Settings.of(data)), settings.seed), settings.seed

    def learn(method: MethodSettings) -> ContinualResult:
        return train_sequentially(protocol.network(tasks, seed), tasks, method, protocol.trained(seed))

    return learn


def _section(protocol: PublishedProtocol, comparison: MethodComparison) -> Section:
    results, published = comparison.results(), dict(protocol.rows)
    reference = _accuracies(results[protocol.rows[0][0]])
    columns: dict[str, Callable[[MethodSettings], str]] = {
        "method": _name,
        "published (%)": lambda row: published[row] or "–",
        "here (%)": lambda row: mean_with_spread(_accuracies(results[row])),
        "ahead of the first by (points)": lambda row: (
            "–" if row == protocol.rows[0][0] else mean_with_interval(_differences(results[row], reference))
        ),
        "forgetting (points)": lambda row: mean_with_spread([100 * result.forgetting for result in results[row]]),
        "λ": lambda row: "–" if row.strength is None else f"{row.strength:g}",
        "stored / weights": lambda row: f"{statistics.median(r.stored_over_weights for r in results[row]):.3g}",
        "seconds a task": lambda row: f"{statistics.median(r.seconds_per_task for r in results[row]):.1f}",
    }
    rows = table(columns, [method for method, _ in protocol.rows])
    return Section(comparison.key, protocol.name, protocol.text, *rows, [], comparison.values())


def _name(row: MethodSettings) -> str:
    return f"{method_label(row.method)}{', in the loss' if row.added else ''}"


def _accuracies(results: Sequence[ContinualResult]) -> list[float]:
    return [result.average_accuracy for result in results]


def _differences(results: Sequence[ContinualResult], reference: Sequence[float]) -> list[float]:
    return [accuracy - other for accuracy, other in zip(_accuracies(results), reference, strict=True)]
