"""What the claim on growing windows takes from a study: the growth, and how fast its directions relax."""

from __future__ import annotations

import math
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from landscope.claims.growth import growth_measurements
from landscope.claims.verdict import Measurement
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.relaxation import is_adaptive, step_rule_of

__all__ = ["growth_of_study"]


def growth_of_study(analysis: Analysis) -> Mapping[str, Measurement]:
    """The growth of the variance beside that of a stationary process in the order of the run."""
    limit = analysis.load_if_there(saved.WINDOW_LIMIT)
    # What keeps the limit from being measured also keeps the rates unknown, and the process needs the order.
    rates = None if limit is None or limit.order_unknown else _rates(analysis)
    return growth_measurements(
        analysis.load(saved.GROWTH), rates, batches_per_epoch=analysis.steps_per_epoch or 1,
        reshuffled=limit is not None and limit.steps_per_epoch is not None,
    )  # fmt: skip


def _rates(analysis: Analysis) -> Float[Tensor, " k"] | None:
    """Relaxation rates of the Hessian eigenvectors in a step; None where a step does not relax along them."""
    facts, alpha = analysis.facts, analysis.learning_rate
    if is_adaptive(facts) or math.isnan(alpha):
        return None
    curvature = analysis.load(saved.basis("hessian")).values
    return step_rule_of(facts).relaxation_rate(alpha * (curvature + facts.weight_decay))
