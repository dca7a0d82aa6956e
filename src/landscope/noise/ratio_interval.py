"""The interval of a ratio whose denominator may be zero within its error."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor

__all__ = ["ratio_interval"]


def ratio_interval(
    above: float, below: float, covariance: Float[Tensor, "2 2"], quantile: float
) -> tuple[float, float]:
    r"""Fieller's interval of a ratio of two positive quantities.

    It holds all ratios r of which :math:`a - r b` is zero within its error,

    .. math:: (a - r b)^2 \le q^2 (V_{aa} - 2 r V_{ab} + r^2 V_{bb}), \qquad r \ge 0.

    Args:
        above: Estimate a.
        below: Estimate b.
        covariance: Covariance V of the two estimates.
        quantile: Quantile q of their distribution, such as Student's.

    Returns:
        The ends; the upper one is infinite where b cannot be told from zero. Both are NaN where no ratio fits.

    Example:
        >>> import torch
        >>> low, high = ratio_interval(2.0, 1.0, torch.tensor([[0.01, 0.0], [0.0, 0.0]]), 2.0)
        >>> round(low, 6), round(high, 6)
        (1.8, 2.2)
        >>> ratio_interval(2.0, 0.1, torch.tensor([[0.01, 0.0], [0.0, 0.01]]), 2.0)[1]
        inf
    """
    (v_aa, v_ab), (_, v_bb) = covariance.tolist()
    # a2 r^2 - 2 a1 r + a0 <= 0
    a2, a1, a0 = (below**2 - quantile**2 * v_bb, above * below - quantile**2 * v_ab, above**2 - quantile**2 * v_aa)
    if a2 > 0:
        root = math.sqrt(max(a1**2 - a2 * a0, 0.0))
        low, high = (a1 - root) / a2, (a1 + root) / a2
        return (max(low, 0.0), high) if high >= 0 else (math.nan, math.nan)
    if a0 <= 0:
        return 0.0, math.inf
    # The numerator is positive, the denominator may have any sign: all ratios from the positive root on.
    return _positive_root(a2, a1, a0), math.inf


def _positive_root(a2: float, a1: float, a0: float) -> float:
    """The positive root of a2 r^2 - 2 a1 r + a0 with a2 <= 0 < a0; infinite where there is none."""
    if a2 == 0:
        return a0 / (2 * a1) if a1 > 0 else math.inf
    return (a1 - math.sqrt(a1**2 - a2 * a0)) / a2
