"""The third stage: the exponents in-sample, in fresh data, and under the null; losses and errors over the training."""

from __future__ import annotations

import functools

import torch

from landscope.directions.principal import principal_modes
from landscope.law.exponents import Exponents, fit_exponents
from landscope.law.inverse_relation import FRESH, IN_SAMPLE, SHUFFLED
from landscope.noise.mode_statistics import ModeStatistics
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.flatness_along import measured_exponents
from landscope.study.parts import Part, Stage
from landscope.study.saved import Saved
from landscope.study.stages.finite_window import finite_window_parts
from landscope.surrogates.shuffled import shuffled_increments
from landscope.training_history import TrainingHistory

__all__ = ["LAW"]


def _fitted(name: str, statistics: Saved[ModeStatistics], analysis: Analysis) -> Exponents:
    settings = analysis.settings
    return fit_exponents(
        name,
        analysis.load(statistics),
        analysis.load(saved.FLATNESS),
        settings.fit_modes,
        spectrum_ranks=analysis.spectrum_ranks,
    )


def _null(number: int, analysis: Analysis) -> Exponents:
    settings = analysis.settings
    measured = len(analysis.load(saved.FLATNESS).width)
    surrogate = shuffled_increments(analysis.window, seed=settings.seed * 1000 + number)
    # Later modes enter no fit and cost a second decomposition; modes for 90 % of the variance are "at least" so many.
    count = min(max(settings.fit_modes[1], analysis.spectrum_ranks[1]), len(surrogate) - 1, surrogate.dim)
    fitted = settings.fit_modes[0], min(settings.fit_modes[1], measured)
    return measured_exponents(
        SHUFFLED, analysis, surrogate, directions=principal_modes(surrogate, count), fit_modes=fitted
    )


def _history(analysis: Analysis) -> TrainingHistory:
    """Losses and errors at the saved whole models, from the study's ``evaluate``."""
    steps, names = analysis.checkpoints.steps(), ("train_loss", "train_error", "test_loss", "test_error")
    rows = []
    for number, step in enumerate(steps):
        found = analysis.subject.measure(analysis.model_at(step), seed=analysis.settings.seed)
        rows.append([found[name] for name in names])
        analysis.progress(number + 1, len(steps))
    columns = dict(zip(names, torch.tensor(rows, dtype=torch.float64).T, strict=True))
    analysis.folder.note_evaluated_history()
    return TrainingHistory(steps=torch.tensor(steps), **columns, minibatch_loss=torch.empty(0, dtype=torch.float64))


def _parts(analysis: Analysis) -> tuple[Part, ...]:
    parts = (
        Part(saved.IN_SAMPLE, functools.partial(_fitted, IN_SAMPLE, saved.STATISTICS)),
        Part(saved.FRESH, functools.partial(_fitted, FRESH, saved.FRESH_STATISTICS), needs=("fresh",)),
        *(
            Part(saved.null(number), functools.partial(_null, number), needs=("even_rows",), draw=f"shuffled-{number}")
            for number in range(analysis.settings.n_nulls)
        ),
        *finite_window_parts(analysis),
        Part(saved.TRAINING, _history, needs=("evaluate",)),
    )
    return tuple(sorted(parts, key=lambda part: bool(part.draw)))  # the draws together, for workers to share


LAW = Stage("law", "Law and nulls", _parts)
