"""The null of a temperature that falls with flatness: noise proportional to curvature, with equal motion everywhere."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.claims.verdict import Control
from landscope.power_law import fit_power_law
from landscope.rank_correlation import rank_correlation

__all__ = ["proportional_exponent", "proportional_fall"]

_NAME = "noise proportional to curvature"
_FEWEST, _CLEAR = 4, -0.5


def proportional_fall(curvature: Float[Tensor, " k"], width: Float[Tensor, " k"]) -> Control:
    """The rank correlation with flatness of a temperature that goes as the curvature.

    A fall is claimed, so that a null that falls more explains the value as well. Where it falls clearly by itself
    (below -0.5), a stronger fall is no more than it either: rank correlations near -1 differ by the scatter of the
    values alone.

    Args:
        curvature: Curvature along each mode; NaN where it is not known.
        width: Flatness of the modes; NaN where the loss does not reach the threshold.
    """
    used = torch.isfinite(curvature) & torch.isfinite(width)
    if int(used.sum()) < _FEWEST:
        return Control(_NAME, (math.nan, math.nan), "differ")
    value = rank_correlation(curvature[used], width[used])
    if value <= _CLEAR:
        return Control(_NAME, (-1.0, 1.0), "differ", f"falls clearly by itself (below {_CLEAR})")
    return Control(_NAME, (value, 1.0), "differ", f"gives {value:.3g}")


def proportional_exponent(curvature: Float[Tensor, " k"], width: Float[Tensor, " k"]) -> Control:
    """The exponent on 1/F of a temperature that goes as the curvature, 2 in a bowl, with the error of its fit.

    Args:
        curvature: Curvature along each mode; NaN where it is not known. Only positive ones have such a temperature.
        width: Flatness of the modes; NaN where the loss does not reach the threshold.
    """
    used = torch.isfinite(curvature) & (curvature > 0) & torch.isfinite(width)
    if int(used.sum()) < _FEWEST:
        return Control(_NAME, (math.nan, math.nan), "differ")
    x, y = width[used].double().log(), curvature[used].double().log()
    x, y = x - x.mean(), y - y.mean()
    value = -fit_power_law(width[used], curvature[used]).exponent
    left = y + value * x
    reach = 1.96 * math.sqrt(float(left.square().sum() / x.square().sum()) / (len(x) - 2))
    return Control(_NAME, (value - reach, value + reach), "differ")
