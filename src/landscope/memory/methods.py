"""The methods that keep a task, by name: each makes a penalty of what is known at the task's end."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Literal

from torch import nn

from landscope.directions.principal import principal_modes
from landscope.directions.random_directions import random_directions
from landscope.memory.snapshot import FinishedTask
from landscope.parameters import ParameterSpace
from landscope.penalties.compression.factored import factored_penalty
from landscope.penalties.fisher import (
    curvature_constraint,
    distance_penalty,
    elastic_weight_consolidation,
    kronecker_elastic_weight_consolidation,
    memory_aware_synapses,
)
from landscope.penalties.kronecker import KroneckerPenalty
from landscope.penalties.ldc import Floor, check_widths, flatness_from_variance, landscape_dependent_constraint
from landscope.penalties.part import PartPenalty
from landscope.penalties.quadratic import QuadraticPenalty
from landscope.penalties.sums import PenaltySum
from landscope.protocols import Penalty
from landscope.risk.fisher import FisherKind
from landscope.risk.kronecker import check_layers

__all__ = ["METHODS", "MOST_LOOKED_AT", "UNPROTECTED", "Method", "method_name", "with_strength"]

_MEASURED_RANKS = (2, 5, 10, 20, 50, 100, 200)
"""Modes that set the scale where flatness comes from variance."""
MOST_LOOKED_AT = 2
"""Modes that any method looks at, in multiples of those it holds."""
UNPROTECTED: Mapping[str, str] = {"none": "nothing", "joint": "all tasks so far at once"}
"""Ways to learn without a penalty, and what a person reads."""
Measures = Literal["", "modes", "flatness"]
Build = Callable[[FinishedTask, int], Penalty]


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to keep a task.

    Args:
        name: What a person reads.
        build: Makes the penalty of strength 1 of a finished task and a number of directions.
        strengths: lambda to try, rising.
        default: lambda of its own, where the method has one.
        measures: What it needs that others share.
        classifiers: Whether it is for plain cross-entropy only.
        takes_modes: Whether it holds directions, as many as it is told; otherwise all weights.
        check: Raises where it does not serve the layers of these weights.
    """

    name: str
    build: Build
    strengths: tuple[float, ...]
    default: float | None = None
    takes_modes: bool = True
    measures: Measures = ""
    classifiers: bool = False
    check: Callable[[nn.Module, ParameterSpace], None] = lambda *_: None


def method_name(method: str) -> str:
    """What a person reads for a key of :data:`METHODS` or :data:`UNPROTECTED`."""
    return METHODS[method].name if method in METHODS else UNPROTECTED[method]


def with_strength(penalty: Penalty, strength: float) -> Penalty:
    """The same penalty with another lambda."""
    if isinstance(penalty, PenaltySum):
        return PenaltySum(tuple(with_strength(part, strength) for part in penalty.parts))
    if isinstance(penalty, PartPenalty):
        return dataclasses.replace(penalty, part=with_strength(penalty.part, strength))
    if isinstance(penalty, QuadraticPenalty | KroneckerPenalty):
        return dataclasses.replace(penalty, strength=strength)
    raise TypeError(type(penalty).__name__)


def _constraint(task: FinishedTask, n_modes: int, *, floor: Floor, psi: float | None = None) -> Penalty:
    """Landscape-dependent constraints, with F measured or from the variance."""
    modes = task.modes
    if psi is None:
        known = task.widths(task.flatness(n_modes))
    else:
        ranks = _measured_ranks(n_modes)
        measured = task.widths(task.flatness_along([rank - 1 for rank in ranks]))
        known = flatness_from_variance(modes.variance[:n_modes], psi, measured, ranks)
    return landscape_dependent_constraint(task.w1, modes, known, n_modes=n_modes, floor=floor, strength=1.0)


def _measured_ranks(n_modes: int) -> list[int]:
    """Those that set the scale; the drift only where nothing else moved."""
    return [rank for rank in _MEASURED_RANKS if rank <= n_modes] or [1]


def _fresh(task: FinishedTask, n_modes: int) -> Penalty:
    """F from the variance of steps that did not choose the modes: modes of the first half, variance of the second."""
    half = len(task.trajectory) // 2
    middle = int(task.trajectory.steps[half])
    modes = principal_modes(task.trajectory.window(stop=middle), min(n_modes, half - 1))
    count = min(n_modes, modes.n_moving)
    ranks = _measured_ranks(count)
    measured = task.widths(task.flatness_of(modes.directions[[rank - 1 for rank in ranks]]))
    variance = modes.project_trajectory(task.trajectory.window(start=middle)).var(dim=0, correction=0)[:count]
    known = flatness_from_variance(variance, 4.0, measured, ranks)
    return landscape_dependent_constraint(task.w1, modes, known, n_modes=count, strength=1.0)


def _factored(task: FinishedTask, n_modes: int, *, psi: float | None = None) -> Penalty:
    """Constraints without a floor, as one Kronecker product a layer."""
    constraint = _constraint(task, n_modes, floor="none", psi=psi)
    assert isinstance(constraint, QuadraticPenalty)  # noqa: S101 - it is one
    return factored_penalty(constraint, task.space)


def _low_floor(task: FinishedTask, n_modes: int) -> Penalty:
    """A floor from the flattest of twice as many modes as are held."""
    widths = task.widths(task.flatness(min(MOST_LOOKED_AT * n_modes, task.modes.n_moving)))
    check_widths(widths)
    floor = float(widths[~widths.isnan()].max()) ** -2
    return landscape_dependent_constraint(
        task.w1, task.modes, widths[:n_modes], n_modes=n_modes, floor=floor, strength=1.0
    )


def _random(task: FinishedTask, n_modes: int) -> Penalty:
    """Random directions, as stiff as the modes."""
    basis = random_directions(len(task.w1), n_modes, seed=task.seed)
    widths = task.widths(task.flatness(n_modes))
    check_widths(widths)
    return curvature_constraint(task.w1, basis.directions, 2 * widths.square().reciprocal().nan_to_num(0.0))


def _leading(task: FinishedTask, n_modes: int, *, matrix: str) -> Penalty:
    basis = task.hessian(n_modes) if matrix == "hessian" else task.leading_fisher(n_modes)
    return curvature_constraint(task.w1, basis.directions, basis.values)


def _elastic(task: FinishedTask, n_weights: int, *, fisher: FisherKind) -> Penalty:
    """Elastic weight consolidation; of the ``n_weights`` of largest information, or of all for 0."""
    return elastic_weight_consolidation(task.risk, task.w1, fisher=fisher, n_weights=n_weights or None)


def _kronecker(task: FinishedTask, _: int) -> Penalty:
    return kronecker_elastic_weight_consolidation(task.risk, task.w1)


def _synapses(task: FinishedTask, _: int) -> Penalty:
    return memory_aware_synapses(task.risk, task.w1)


def _distance(task: FinishedTask, _: int) -> Penalty:
    return distance_penalty(task.w1)


def _decades(first: int, last: int, a_decade: int = 2) -> tuple[float, ...]:
    return tuple(round(10 ** (k / a_decade), 10) for k in range(first * a_decade, last * a_decade + 1))


_CURVATURE = _decades(1, 6)


def _of_modes(name: str, build: Build, default: float | None, measures: Measures = "flatness") -> Method:
    return Method(name, build, _decades(-1, 3), default, measures=measures)


def _of_weights(name: str, build: Build, *, classifiers: bool = True) -> Method:
    return Method(name, build, _CURVATURE, takes_modes=False, classifiers=classifiers)


METHODS: Mapping[str, Method] = {
    "ldc": _of_modes("LDC, no floor", functools.partial(_constraint, floor="none"), 10.0),
    "ldc-floor": _of_modes("LDC with floor", functools.partial(_constraint, floor="last-mode"), 4.0),
    "ldc-low-floor": _of_modes("LDC with a lower floor", _low_floor, 4.0),
    "ldc-psi3": _of_modes("LDC, F from psi = 3", functools.partial(_constraint, floor="none", psi=3.0), 10.0, "modes"),
    "ldc-psi4": _of_modes("LDC, F from psi = 4", functools.partial(_constraint, floor="none", psi=4.0), 10.0, "modes"),
    "ldc-psi5": _of_modes("LDC, F from psi = 5", functools.partial(_constraint, floor="none", psi=5.0), 10.0, "modes"),
    "ldc-psi4-floor": _of_modes(
        "LDC with floor, F from psi = 4", functools.partial(_constraint, floor="last-mode", psi=4.0), 4.0, "modes"
    ),
    "ldc-fresh": _of_modes("LDC with floor, F from psi = 4 and fresh steps", _fresh, 4.0, "modes"),
    "ldc-factored": _of_modes("LDC, factored", _factored, 4.0),
    "ldc-psi4-factored": _of_modes(
        "LDC, F from psi = 4, factored", functools.partial(_factored, psi=4.0), 4.0, "modes"
    ),
    "random": _of_modes("random directions", _random, None),
    "hessian": Method("Hessian, leading", functools.partial(_leading, matrix="hessian"), _CURVATURE),
    "fisher": Method("Fisher, leading", functools.partial(_leading, matrix="fisher"), _CURVATURE, classifiers=True),
    "ewc": _of_weights("EWC, exact Fisher", functools.partial(_elastic, fisher="exact")),
    "ewc-empirical": _of_weights(
        "EWC, empirical Fisher", functools.partial(_elastic, fisher="empirical"), classifiers=False
    ),
    "ewc-batch": _of_weights(
        "EWC, batch-mean Fisher", functools.partial(_elastic, fisher="batch-mean"), classifiers=False
    ),
    "kfac": dataclasses.replace(_of_weights("EWC, Kronecker factors", _kronecker), check=check_layers),
    "mas": _of_weights("memory-aware synapses", _synapses, classifiers=False),
    "l2": Method("distance from w1", _distance, _decades(-3, 2), takes_modes=False),
}
"""All of them; a number of directions that a method does not need is passed over."""
