"""A small language model fine-tuned from one text to another, all of it and by low-rank changes."""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from landscope.law.intervals import mean_with_spread
from landscope.reproduction.experiment.datasets.texts import byte_sequences, python_texts
from landscope.reproduction.experiment.networks import gpt2_config
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures.figure import Plan, Section
from landscope.reproduction.figures.method_comparison import NO_STRENGTH, MethodComparison
from landscope.reproduction.jobs import Job
from landscope.reproduction.sequential.continual_result import ContinualResult
from landscope.reproduction.sequential.language import FineTuning, FineTuningSettings
from landscope.reproduction.sequential.methods import MethodSettings, method_label
from landscope.reproduction.sequential.tuning import Seeds

__all__ = ["FIGURE", "Language", "LanguageExperiment"]

_STRENGTHS: Mapping[str, tuple[float, ...]] = {
    "none": NO_STRENGTH, "ldc-no-floor": (0.4, 4.0, 40.0, 400.0), "ldc-floor": (4e-3, 0.04, 0.4, 4.0, 40.0),
    "ldc-variance-factored": (4.0, 40.0, 400.0, 4e3), "ewc-empirical": (1e-3, 1e-2, 0.1, 1.0, 10.0),
    "l2": (1e-4, 1e-3, 1e-2, 0.1, 1.0),
}  # fmt: skip
_SEEDS = Seeds(reported=3, tuning=1)
_HEADINGS = (
    "method", "first text, before", "first text, after", "second text", "λ", "stored / weights", "recorded / weights",
    "penalty (s)", "training / plain",
)  # fmt: skip
_TEXT = (
    "A GPT-2 made from a configuration ({width} wide, {layers} blocks), byte by byte, by AdamW: first Python's "
    "handbook in English, then source code of Python's library. Perplexity of a byte on parts of both texts that were "
    "not learnt, mean and standard deviation over {reported} seeds; λ of the smallest mean log perplexity of both "
    "texts, on the same parts, over other seeds ({tuning}). Low rank: the whole model learns the first text, and "
    "changes of rank {rank} of one layer a block learn the second; their modes are found while they learn on in the "
    "first text."
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
        """A small one."""
        short = dataclasses.replace(self.fine_tuning, steps=(200, 100), n_modes=10, window=60, max_samples=50)
        return dataclasses.replace(self, fine_tuning=short, width=16, layers=1, length=16, max_bytes=20_000)


_EXPERIMENTS = (
    LanguageExperiment("full", "A language model, all weights", FineTuningSettings()),
    LanguageExperiment("low-rank", "A language model, low-rank changes", FineTuningSettings(low_rank=4)),
)


@dataclasses.dataclass(frozen=True)
class Language:
    """The figure: one job an experiment and seed.

    Args:
        strengths: Strengths to try, by method.
        experiments: Experiments.
        seeds: Numbers of seeds.
    """

    strengths: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=lambda: _STRENGTHS)
    experiments: Sequence[LanguageExperiment] = _EXPERIMENTS
    seeds: Seeds = _SEEDS

    key = "language"
    title = "A language model from one text to another"

    def jobs(self, plan: Plan) -> list[Job]:
        """One job an experiment and seed."""
        return [job for experiment in self._experiments(plan) for job in self._comparison(plan, experiment).jobs()]

    def sections(self, plan: Plan) -> list[Section]:
        """One table an experiment; the first has the text."""
        experiments = self._experiments(plan)
        ranks = [e.fine_tuning.low_rank for e in experiments if e.fine_tuning.low_rank is not None]
        text = _TEXT.format(rank=max(ranks, default=0), **vars(experiments[0]), **self.seeds.counts_of(plan))
        comparisons = [self._comparison(plan, experiment) for experiment in experiments]
        return [
            Section(
                comparison.key, experiment.name, text if number == 0 else "", _HEADINGS, _rows(comparison, experiment),
                [], comparison.values(),
            )
            for number, (experiment, comparison) in enumerate(zip(experiments, comparisons, strict=True))
        ]  # fmt: skip

    def _experiments(self, plan: Plan) -> Sequence[LanguageExperiment]:
        return [experiment.quick() for experiment in self.experiments] if plan.quick else self.experiments

    def _comparison(self, plan: Plan, experiment: LanguageExperiment) -> MethodComparison:
        how = experiment.fine_tuning
        strengths = {MethodSettings(method, n_modes=how.n_modes): tried for method, tried in self.strengths.items()}
        prepare = functools.partial(_prepare, experiment)
        return MethodComparison(
            plan, f"language-{experiment.key}", self.seeds, strengths, prepare, dataclasses.asdict(how)
        )


def _prepare(experiment: LanguageExperiment, settings: Settings) -> Callable[[MethodSettings], ContinualResult]:
    """All methods go on from the same first text."""
    texts = [byte_sequences(text[: experiment.max_bytes], experiment.length) for text in python_texts().values()]
    model = _gpt2(experiment, settings.seed)
    return FineTuning(model, texts, experiment.fine_tuning, settings.seed).learn_second


def _gpt2(experiment: LanguageExperiment, seed: int) -> nn.Module:
    config = gpt2_config(256, experiment.length, experiment.width, experiment.layers)
    from transformers import GPT2LMHeadModel  # an extra

    torch.manual_seed(seed)
    return GPT2LMHeadModel(config)


def _rows(comparison: MethodComparison, experiment: LanguageExperiment) -> list[list[str]]:
    tuner = comparison.tuner
    results = {row: tuner.results(row) for row in comparison.strengths}
    (plain,) = ([float(r.seconds[-1]) for r in runs] for row, runs in results.items() if row.method == "none")
    rows = []
    for row, runs in results.items():
        perplexities = [[float(r.error[stage, text].exp()) for r in runs] for stage, text in ((0, 0), (1, 0), (1, 1))]
        ratios = [float(r.seconds[-1]) / seconds for r, seconds in zip(runs, plain, strict=True)]
        rows.append([
            method_label(row.method),
            *(mean_with_spread(values) for values in perplexities),
            str(tuner.best(row)),
            f"{statistics.median(r.stored_over_weights for r in runs):.2g}",
            f"{experiment.fine_tuning.window if row.needs_recording else 0:.3g}",
            f"{statistics.median(float(r.consolidation_seconds[0]) for r in runs):.1f}",
            f"{statistics.median(ratios):.1f}",
        ])  # fmt: skip
    return rows


FIGURE = Language()
