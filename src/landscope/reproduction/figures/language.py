"""A small language model fine-tuned from one text to another, all of it and by low-rank changes."""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Callable, Mapping, Sequence

import torch

from landscope.law.intervals import mean_with_interval, mean_with_spread
from landscope.reproduction.experiment.datasets.texts import byte_sequences, python_texts
from landscope.reproduction.experiment.networks import gpt2_config
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures.figure import Plan, Section, table
from landscope.reproduction.figures.language_verdict import verdict
from landscope.reproduction.figures.method_comparison import NO_STRENGTH, MethodComparison, Row
from landscope.reproduction.jobs import Job
from landscope.reproduction.sequential.continual_result import ContinualResult
from landscope.reproduction.sequential.language import FineTuning, FineTuningSettings
from landscope.reproduction.sequential.methods import MethodSettings, method_label
from landscope.reproduction.sequential.tuning import Seeds

__all__ = ["LanguageExperiment", "jobs", "key", "sections", "title"]

_STRENGTHS: Mapping[str, tuple[float, ...]] = {
    "none": NO_STRENGTH, "interpolation": tuple(round(0.1 * tenths, 1) for tenths in range(2, 10)),
    "midpoint": NO_STRENGTH, "basin-default": (1.0,), "basin-budget": (1.0,), "basin-budget-at-end": (1.0,),
    "ewc-empirical": (1e-2, 0.1, 1.0, 10.0, 100.0), "l2": (1e-4, 1e-3, 1e-2, 0.1, 1.0),
    "ldc-variance-factored": (4.0, 40.0, 400.0, 4e3), "ldc-floor": (4e-3, 0.04, 0.4, 4.0, 40.0),
    "ldc-no-floor": (0.4, 4.0, 40.0, 400.0),
}  # fmt: skip
_SEEDS = Seeds(reported=3, tuning=1)
_TEXT = (
    "A GPT-2 made from a configuration ({width} wide, {layers} blocks), byte by byte, by AdamW: first Python's "
    "handbook in English, then source code of Python's library. Perplexity of a byte on parts of both texts that were "
    "not learnt, mean and standard deviation over {reported} seeds; mean of the log perplexities of both texts, and "
    "its difference to that without a method (Student's 95 % interval over the same seeds, in nats). λ (of "
    "interpolation the share of new weights) has the smallest mean of both, on the same parts, over other seeds "
    "({tuning}). The basin has its default, λ = 1. A budget is a share by which the loss of the first text may rise, "
    "measured on {samples} of its sequences: 5 %, as in the documentation, is not tuned. Low rank: the whole model "
    "learns the first text, and changes of rank 4 of one layer a block learn the second; their modes are found while "
    "they learn on in the first text."
)


@dataclasses.dataclass(frozen=True)
class LanguageExperiment:
    """A model and how it learns the two texts.

    Args:
        key: Key of its runs.
        name: Name for a table.
        fine_tuning: How the texts are learnt.
        width: Width of the network.
        layers: Number of its blocks.
        length: Bytes of a row of text.
        max_bytes: Bytes of each text, the first ones; all by default.
    """

    key: str
    name: str
    fine_tuning: FineTuningSettings
    width: int = 64
    layers: int = 2
    length: int = 64
    max_bytes: int | None = None

    def quick(self) -> LanguageExperiment:
        """A small one; its rows are so long that answers are drawn, as of the large one, and not all gone through."""
        short = dataclasses.replace(self.fine_tuning, steps=(200, 100), n_modes=10, window=60, max_samples=50)
        return dataclasses.replace(self, fine_tuning=short, width=16, layers=1, length=24, max_bytes=20_000)


_EXPERIMENTS = (
    LanguageExperiment("full", "A language model, all weights", FineTuningSettings()),
    LanguageExperiment("low-rank", "A language model, low-rank changes", FineTuningSettings(low_rank=4)),
)


key = "language"
title = "A language model from one text to another"


def jobs(plan: Plan) -> list[Job]:
    """One job an experiment and seed."""
    return [job for comparison in _comparisons(plan).values() for job in comparison.jobs()]


def sections(plan: Plan) -> list[Section]:
    """One table an experiment; the first has the text."""
    made: list[Section] = []
    for experiment, comparison in _comparisons(plan).items():
        samples = experiment.fine_tuning.max_samples
        text = "" if made else _TEXT.format(**vars(experiment), **_SEEDS.counts_of(plan), samples=samples) + " "
        text += verdict({row.method: _mean_losses(runs) for row, runs in comparison.results().items()})
        rows = table(_columns(experiment, comparison), comparison.results().items())
        made.append(Section(comparison.key, experiment.name, text, *rows, [], comparison.values()))
    return made


def _comparisons(plan: Plan) -> dict[LanguageExperiment, MethodComparison]:
    experiments = [experiment.quick() for experiment in _EXPERIMENTS] if plan.quick else _EXPERIMENTS
    return {experiment: _comparison(plan, experiment) for experiment in experiments}


def _comparison(plan: Plan, experiment: LanguageExperiment) -> MethodComparison:
    how = experiment.fine_tuning
    strengths = {MethodSettings(method, n_modes=how.n_modes): tried for method, tried in _STRENGTHS.items()}
    prepare = functools.partial(_prepare, experiment)
    return MethodComparison(plan, f"language-{experiment.key}", _SEEDS, strengths, prepare, dataclasses.asdict(how))


def _prepare(experiment: LanguageExperiment, settings: Settings) -> Callable[[MethodSettings], ContinualResult]:
    """All methods go on from the same first text."""
    texts = [byte_sequences(text[: experiment.max_bytes], experiment.length) for text in python_texts().values()]
    config = gpt2_config(256, experiment.length, experiment.width, experiment.layers)
    from transformers import GPT2LMHeadModel  # an extra

    torch.manual_seed(settings.seed)
    return FineTuning(GPT2LMHeadModel(config), texts, experiment.fine_tuning, settings.seed).learn_second


def _columns(experiment: LanguageExperiment, comparison: MethodComparison) -> dict[str, Callable[[Row], str]]:
    tuner, window = comparison.tuner, experiment.fine_tuning.window
    (plain,) = (runs for row, runs in comparison.results().items() if row.method == "none")
    seconds = [float(run.seconds[-1]) for run in plain]

    def perplexity(runs: Sequence[ContinualResult], stage: int, text: int) -> str:
        return mean_with_spread([float(run.error[stage, text].exp()) for run in runs])

    def relative_seconds(runs: Sequence[ContinualResult]) -> float:
        return statistics.median(float(run.seconds[-1]) / own for run, own in zip(runs, seconds, strict=True))

    def minus_plain(row: Row) -> str:
        if row[0].method == "none":
            return "–"
        pairs = zip(_mean_losses(row[1]), _mean_losses(plain), strict=True)
        return mean_with_interval([loss - without for loss, without in pairs], ".3f")

    return {
        "method": lambda row: method_label(row[0].method),
        "first text, before": lambda row: perplexity(row[1], 0, 0),
        "first text, after": lambda row: perplexity(row[1], 1, 0),
        "second text": lambda row: perplexity(row[1], 1, 1),
        "mean log": lambda row: f"{statistics.fmean(_mean_losses(row[1])):.3f}",
        "minus nothing": minus_plain,
        "λ": lambda row: str(tuner.best(row[0])),
        "stored / weights": lambda row: f"{statistics.median(run.stored_over_weights for run in row[1]):.2g}",
        "recorded / weights": lambda row: f"{window if row[0].needs_recording else 0:.3g}",
        "penalty (s)": lambda row: f"{statistics.median(float(run.consolidation_seconds[0]) for run in row[1]):.1f}",
        "training / plain": lambda row: f"{relative_seconds(row[1]):.1f}",
    }


def _mean_losses(runs: Sequence[ContinualResult]) -> list[float]:
    """Mean of the losses of both texts at the end, for each seed."""
    return [run.average_error for run in runs]
