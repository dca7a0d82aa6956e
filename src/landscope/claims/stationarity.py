"""Eq. 5: whether restoring force and noise balance, against a stationary run in a window of finite length."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from landscope.claims.verdict import Claim, Control, Measurement, joined
from landscope.law.intervals import with_interval
from landscope.noise.finite_window import window_factor
from landscope.noise.stationarity import LyapunovResidual, YaidaRelation

__all__ = ["CLAIMS", "stationarity_measurements"]

_SHAPE = 1.25
"""Of the gamma law of the variance of Brownian motion about its mean."""
_HALVINGS = 60

CLAIMS = (
    Claim(
        "stationary",
        "text, Eq. 5",
        "The run is stationary along its modes (Yaida's ratio over that of a stationary run in a window of the same"
        " length, median of modes 2 on, trained on with replacement).",
        "assumed",
        (0.5, 1.5),
        "half either way",
        "Yaida's relation and the Lyapunov residual, with independent minibatches as both need; free diffusion under"
        " the same force beside it",
        possible=(0.0, math.inf),
    ),
)


def stationarity_measurements(
    yaida: YaidaRelation, lyapunov: LyapunovResidual, *, plain: bool
) -> dict[str, Measurement]:
    r"""Measure whether restoring force and noise balance.

    In a centred window of T steps the ratio of both sides is :math:`\kappa(x)` of :math:`x = \alpha\lambda T` in a
    stationary run, not 1; the value is the ratio over it. A direction without a force that pulls back counts as 0. Free
    diffusion of the same D has the variance DT/6 and so the ratio x/3: over kappa it is 1 in a window so short that
    nothing relaxes, and no such window can tell the two apart. It is the null, with the median of k independent walks:
    the variance of one has a gamma law of shape 5/4 nearly, whose squared coefficient of variation is that of Brownian
    motion about its mean, (1/45)/(1/6)^2 = 4/5.

    Args:
        yaida: Yaida's relation of the training continued with replacement.
        lyapunov: The Lyapunov equation of the same.
        plain: Whether the training is plain SGD, without momentum or weight decay, as both tests need.
    """
    if not plain:
        note = "both tests are for plain SGD, without momentum or weight decay"
        return {"stationary": Measurement(math.nan, note=note)}
    known = torch.isfinite(yaida.ratio[1:])
    ratio, expected = yaida.ratio[1:][known].double(), yaida.expected[1:][known].double()
    if not len(ratio):
        return {"stationary": Measurement(math.nan, note="no mode from the second on moves")}
    pulled = expected > 0
    balance = torch.where(pulled, ratio / torch.where(pulled, expected, 1.0), 0.0).clamp(min=0)
    free = torch.where(pulled, _relaxations(expected) / 3 / torch.where(pulled, expected, 1.0), 0.0)
    low, high = (float(free.median()) * factor for factor in _median_of_walks(len(ratio)))
    null = Control("free diffusion under the same force, in a window of the same length,", (low, high), "differ")
    note = joined(
        f"the ratio itself is {with_interval(float(ratio.median()), form='.2g')}, where a stationary run has "
        f"{float(expected.median()):.2g} in this window (medians of {len(ratio)} modes)",
        f"residual of the Lyapunov equation along {len(lyapunov.ratio)} modes {lyapunov.residual:.2g}",
    )
    return {"stationary": Measurement(float(balance.median()), controls=(null,), note=note)}


def _median_of_walks(count: int) -> tuple[float, float]:
    """Where the median of so many variances of walks lies with 95 %, over their mean."""
    middle = stats.beta((count + 1) / 2, (count + 1) / 2)
    law = stats.gamma(_SHAPE, scale=1 / _SHAPE)
    return float(law.ppf(middle.ppf(0.025))), float(law.ppf(middle.ppf(0.975)))


def _relaxations(factor: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
    """The x with kappa(x) equal to the factor, by halving the logarithm of x; kappa rises from x/3 to 1 - 2/x."""
    low, high = torch.full_like(factor, math.log(1e-12)), torch.full_like(factor, math.log(1e12))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        below = window_factor(middle.exp()) < factor
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return ((low + high) / 2).exp()
