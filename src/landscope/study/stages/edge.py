"""A part of the dynamics: how near the training is to its edge of stability."""

from __future__ import annotations

import math

from landscope.noise.edge_of_stability import EdgeOfStability, edge_of_stability
from landscope.parameters import ParameterSpace
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.parts import Part
from landscope.threads import one_thread

__all__ = ["edge_parts"]

_MODES = 200
"""Most principal modes whose share of oscillation is measured."""


def _edge(analysis: Analysis) -> EdgeOfStability:
    """All trained weights of the model at w0, in eval mode: batch normalisation keeps its statistics.

    Optimisers other than SGD get no bound: their step has a metric of its own, which a study does not keep.
    """
    facts = analysis.facts
    is_sgd = facts.optimizer == "SGD" and not (
        facts.dampening or facts.nesterov or facts.maximize or facts.groups_differ
    )
    with one_thread():  # the bits must not depend on the number of threads
        whole = analysis.risk_at(analysis.windows.step, ParameterSpace.of(analysis.subject.model), batch_norm="kept")
        modes = analysis.load(saved.MODES)
        return edge_of_stability(
            whole, analysis.ensemble_of(whole), whole.w0, analysis.window, analysis.load(saved.basis("hessian")),
            modes.part(slice(_MODES)), learning_rate=analysis.learning_rate if is_sgd else math.nan,
            momentum=facts.momentum if is_sgd else 0.0, weight_decay=facts.weight_decay if is_sgd else 0.0,
            seed=analysis.settings.seed, progress=analysis.progress,
        )  # fmt: skip


def edge_parts() -> tuple[Part, ...]:
    """Batch sharpness and lambda_1 against the step size, and the share of oscillation along directions."""
    after = (saved.MODES, saved.basis("hessian"))
    return (Part(saved.EDGE, _edge, needs=("minibatches",), after=after, is_optional=True),)
