"""A part of the dynamics: how near the training is to its edge of stability."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from landscope.errors import InputError
from landscope.noise.edge_of_stability import EdgeOfStability, edge_of_stability
from landscope.noise.sharpness_over_training import (
    Checkpoint,
    SharpnessOverTraining,
    measure_sharpness_over_training,
)
from landscope.parameters import ParameterSpace
from landscope.risk.data import is_pair_of_tensors
from landscope.risk.running_statistics import updating_layers
from landscope.risk.training_minibatches import TrainingMinibatches
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.parts import Part
from landscope.threads import one_thread

__all__ = ["edge_parts"]

_MODES = 200
"""Most principal modes whose share of oscillation is measured."""
_CHECKPOINTS = 8
"""Most saved models at which lambda_1 is measured; each takes some 10 to 20 products of all data."""


def _edge(analysis: Analysis) -> EdgeOfStability:
    """All trained weights of the model at w0; batch normalisation takes the statistics of each minibatch, as SGD does.

    Optimisers other than SGD get no bound: their step has a metric of its own, which a study does not keep.
    """
    momentum, weight_decay = _momentum_and_decay(analysis)
    with one_thread():  # the bits must not depend on the number of threads
        whole, ensemble = _losses(analysis, analysis.windows.step)
        modes = analysis.load(saved.MODES)
        return edge_of_stability(
            whole, ensemble, whole.w0, analysis.window, analysis.load(saved.CURVATURE),
            modes.part(slice(_MODES)), seed=analysis.settings.seed, progress=analysis.progress,
            learning_rate=analysis.learning_rate if analysis.facts.is_heavy_ball else math.nan,
            momentum=momentum, weight_decay=weight_decay,
        )  # fmt: skip


def _sharpness_over_training(analysis: Analysis) -> SharpnessOverTraining:
    """Of all trained weights, at a few of the saved models; optimisers other than SGD get no bound, as above."""
    saved_steps = analysis.checkpoints.steps()
    chosen = torch.linspace(0, len(saved_steps) - 1, min(_CHECKPOINTS, len(saved_steps))).round().long()
    rates = analysis.rates_at_checkpoints[chosen]

    def losses() -> Iterator[Checkpoint]:
        for number in chosen.tolist():
            whole, ensemble = _losses(analysis, saved_steps[number])
            yield saved_steps[number], whole, ensemble, whole.w0

    momentum, weight_decay = _momentum_and_decay(analysis)
    with one_thread():  # the bits must not depend on the number of threads
        return measure_sharpness_over_training(
            losses(), seed=analysis.settings.seed, progress=analysis.progress,
            learning_rates=rates if analysis.facts.is_heavy_ball else torch.full_like(rates, math.nan),
            momentum=momentum, weight_decay=weight_decay,
        )  # fmt: skip


def _momentum_and_decay(analysis: Analysis) -> tuple[float, float]:
    facts = analysis.facts
    return (facts.momentum, facts.weight_decay) if facts.is_heavy_ball else (0.0, 0.0)


def _losses(analysis: Analysis, step: int) -> tuple[Any, Any]:
    """The loss of all trained weights at a saved step, and those of the minibatches, as the training sees them."""
    subject = analysis.subject
    if not updating_layers(subject.model):
        whole = analysis.risk_at(step, ParameterSpace.of(subject.model))
        return whole, analysis.ensemble_of(whole)
    if subject.criterion is None or not is_pair_of_tensors(subject.data):
        raise InputError(
            expected="a criterion, and data as a pair of tensors: batch normalisation takes statistics of minibatches",
            got="losses= or a loader", hint="Pass ls.Study(folder, model, criterion, (inputs, targets)).",
        )  # fmt: skip
    assert analysis.batch_size is not None  # noqa: S101 - the part needs it
    minibatches = TrainingMinibatches(
        analysis.model_at(step), subject.criterion, subject.data, analysis.batch_size, seed=analysis.settings.seed
    )
    return minibatches, minibatches


def edge_parts() -> tuple[Part, ...]:
    """Batch sharpness and lambda_1 against the step size, also over the training, and the share of oscillation."""
    after = (saved.MODES, saved.CURVATURE)
    return (
        Part(saved.EDGE, _edge, needs=("minibatches", "hessian"), after=after, is_optional=True),
        Part(
            saved.SHARPNESS_OVER_TRAINING, _sharpness_over_training, needs=("minibatches", "hessian", "checkpoints"),
            is_optional=True,
        ),
    )  # fmt: skip
