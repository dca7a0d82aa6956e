"""Parts of the dynamics: flatness in the Fisher metric, and the local learning coefficient."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from landscope.directions.hessian_eigenvectors import leading_eigenvectors
from landscope.errors import InputError
from landscope.landscape import (
    Flatness,
    InvariantFlatness,
    LearningCoefficient,
    invariant_flatness,
    learning_coefficient,
)
from landscope.noise.springs import spring_ranks
from landscope.risk import EmpiricalRisk
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.curvature_matrix import curvature_matrix
from landscope.study.parts import Part
from landscope.threads import one_thread

__all__ = ["invariant_parts"]

_MODES = 60
"""Log-spaced modes: each costs a product with the Fisher information over all data."""
_CHAINS, _DRAWS = 4, 40
_MINIBATCH = 256
_RELAXATIONS = 5
"""Relaxation times of a flat direction in the burn-in, which set the localisation."""
_SHORTER = (1, 4, 16)
"""Factors by which steps are shortened, and as many more taken, while a chain diverges."""


def _flatness(analysis: Analysis) -> InvariantFlatness:
    """Along at most about 60 modes."""
    widths, modes, risk = analysis.load(saved.FLATNESS), analysis.load(saved.MODES), analysis.risk
    ranks = spring_ranks(widths, _MODES)
    if not len(ranks):
        raise InputError(
            expected="modes with a flatness within reach", got="none", hint="Choose a smaller ratio, such as 1.1."
        )
    some = dataclasses.replace(widths, **{name: getattr(widths, name)[ranks - 1] for name in Flatness.dims})
    name, product = curvature_matrix(risk)
    with one_thread():
        found = invariant_flatness(
            some, modes.directions[ranks - 1].to(risk.w0), product, metric=name, progress=analysis.progress
        )
    return dataclasses.replace(found, ranks=ranks)


def _coefficient(analysis: Analysis) -> LearningCoefficient:
    """Four chains of as many steps as set, each with two gradients of 256 samples, and 40 losses of all data each.

    Steps follow from the curvature at w0. Chains go to where the loss is higher, and so is the curvature; where one
    diverges, or leaves the valley for a while, steps are a quarter as long, and four times as many, up to twice.
    """
    risk, settings = analysis.risk, analysis.settings
    n_samples, n_steps = len(risk.sample_losses(risk.w0)), settings.learning_coefficient_steps
    with one_thread():
        _, product = curvature_matrix(risk)
        top = leading_eigenvectors(product, risk.w0, 1, name="curvature", rtol=1e-2, seed=settings.seed).values
        stiffest = max(float(top[0]), 0.0) * n_samples / math.log(n_samples)
        if not stiffest > 0:
            raise InputError(
                expected="a positive curvature at w0, which sets the steps", got="none", hint="Look at another w0."
            )
        localisation = 2 * _RELAXATIONS / (n_steps // 2) * stiffest
        return steady_coefficient(
            functools.partial(
                learning_coefficient, risk, risk.w0, n_samples=n_samples, localisation=localisation, seed=settings.seed,
                n_chains=_CHAINS, n_draws=_DRAWS, gradient=_estimate(risk, n_samples), progress=analysis.progress,
            ),
            step=0.5 / (stiffest + localisation), n_steps=n_steps,
        )  # fmt: skip


def steady_coefficient(chains: Callable[..., LearningCoefficient], *, step: float, n_steps: int) -> LearningCoefficient:
    """Chains of shorter and shorter steps until none diverges, or the last ones.

    Args:
        chains: Runs all chains with ``step`` and ``n_steps``.
        step: Step size to begin with.
        n_steps: Number of steps to begin with; step times number of steps stays the same.
    """
    for shorter in _SHORTER:
        found = chains(step=step / shorter, n_steps=n_steps * shorter)
        if not bool(found.diverged.any()):
            break
    return found


def _estimate(risk: EmpiricalRisk, n_samples: int) -> Callable[[Tensor, torch.Generator], Tensor] | None:
    """Minibatch gradients that differ from the exact one only by how far the chain has gone from w0.

    The minibatch at w0 is a control variate: g(w0) + g_B(w) - g_B(w0) (Baker et al., arXiv 1706.05439).
    """
    if n_samples <= 2 * _MINIBATCH:
        return None
    at_w0 = risk.gradient(risk.w0)

    def estimate(w: Tensor, generator: torch.Generator) -> Tensor:
        rows = torch.randint(n_samples, (_MINIBATCH,), generator=generator).to(w.device)
        return at_w0 + risk.mean_gradient(w, rows) - risk.mean_gradient(risk.w0, rows)

    return estimate


def invariant_parts() -> tuple[Part, ...]:
    """Flatness in the Fisher metric, and the local learning coefficient of the recorded weights at w0."""
    return (
        Part(saved.INVARIANT_FLATNESS, _flatness, needs=("curvature",), after=(saved.FLATNESS,), is_optional=True),
        Part(saved.LEARNING_COEFFICIENT, _coefficient, needs=("curvature",), is_optional=True),
    )
