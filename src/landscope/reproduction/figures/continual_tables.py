"""Tables of methods in benchmarks of continual learning."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from landscope.law.intervals import mean_with_interval, mean_with_spread, seed_interval
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures.continual_benchmark import ContinualBenchmark
from landscope.reproduction.figures.figure import Section, table
from landscope.reproduction.figures.method_comparison import MethodComparison
from landscope.reproduction.sequential.continual_result import ContinualResult
from landscope.reproduction.sequential.methods import method_label
from landscope.reproduction.sequential.training import OptimizerName

__all__ = ["continual_sections"]

_OPTIMIZERS: Mapping[OptimizerName, str] = {
    "sgd": "plain SGD", "momentum": "SGD with momentum 0.9", "adam": "Adam", "adamw": "AdamW with weight decay 0.01",
}  # fmt: skip
_HOW = (
    "Each task for {epochs} epochs of minibatches of {batch_size} by {optimizer}, learning rate {learning_rate:g}. "
    "{ldc}Losses and Fisher information are measured on {max_samples} samples of a task."
)
_LDC = "LDC holds {n_modes} modes of the last {window} steps of a task. "
_Results = Mapping[str, Sequence[ContinualResult]]
"""Results of the reported seeds, by method."""


def continual_sections(
    key: str,
    title: str,
    text: str,
    compared: Sequence[tuple[ContinualBenchmark, MethodComparison]],
    *,
    reference: str = "kfac",
) -> list[Section]:
    """All benchmarks in one table, then one table each.

    Args:
        key: Key of the figure.
        title: Its title.
        text: What was done in all benchmarks.
        compared: The benchmarks and the methods compared in them.
        reference: The method that the others are compared with.
    """
    results = [_reported(comparison) for _, comparison in compared]
    overview = _overview(key, title, text, [benchmark for benchmark, _ in compared], results, reference)
    return [
        overview,
        *(_section(*pair, by_method, reference) for pair, by_method in zip(compared, results, strict=True)),
    ]


def _overview(
    key: str,
    title: str,
    text: str,
    compared: Sequence[ContinualBenchmark],
    results: Sequence[_Results],
    reference: str,
) -> Section:
    """Methods x benchmarks."""
    columns: dict[str, Callable[[str], str]] = {"method": method_label}
    for benchmark, runs in zip(compared, results, strict=True):
        columns[benchmark.name] = lambda method, runs=runs: (
            _accuracy_cell(runs[method], runs[reference]) if method in runs else "–"
        )
    columns["stored / weights"] = lambda method: _range(
        (_stored(runs[method]) for runs in results if method in runs), ".3g"
    )
    columns["seconds a task"] = lambda method: _range(
        (_seconds(runs[method]) for runs in results if method in runs), ".1f"
    )
    methods = dict.fromkeys(method for runs in results for method in runs)
    return Section(key, f"{title}: average accuracy (%)", text, *table(columns, methods), [], {})


def _reported(comparison: MethodComparison) -> _Results:
    return {row.method: results for row, results in comparison.results().items()}


def _section(benchmark: ContinualBenchmark, comparison: MethodComparison, results: _Results, reference: str) -> Section:
    strengths = {row.method: str(comparison.tuner.best(row)) for row in comparison.strengths}
    columns: dict[str, Callable[[str], str]] = {
        "method": method_label,
        "average accuracy (%)": lambda method: mean_with_spread(_accuracies(results[method])),
        f"minus {method_label(reference)} (points)": lambda method: (
            "–" if method == reference else mean_with_interval(_differences(results[method], results[reference]))
        ),
        "backward transfer (points)": lambda m: mean_with_spread([100 * r.backward_transfer for r in results[m]]),
        "forgetting (points)": lambda m: mean_with_spread([100 * result.forgetting for result in results[m]]),
        "strength": lambda method: strengths[method],
        "stored / weights": lambda method: f"{_stored(results[method]):.3g}",
        "seconds a task": lambda method: f"{_seconds(results[method]):.1f}",
    }
    text = _text(benchmark, comparison.settings(0), results)
    return Section(comparison.key, benchmark.name, text, *table(columns, results), [], comparison.values())


def _text(benchmark: ContinualBenchmark, settings: Settings, methods: Iterable[str]) -> str:
    """The network, and how every task is learnt."""
    is_cnn = settings.network == "cifar-cnn"
    parts = "biases and batch normalisation without weights of its own" if benchmark.batch_norm else "biases"
    network = "The CNN of the paper. " if is_cnn else f"Two hidden layers of {settings.hidden[0]}, with {parts}. "
    numbers = vars(benchmark.training(0)) | vars(benchmark) | {"optimizer": _OPTIMIZERS[benchmark.optimizer_name]}
    ldc = _LDC.format(**numbers) if any(method.startswith("ldc") for method in methods) else ""
    return network + _HOW.format(ldc=ldc, **numbers)


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
