"""Spearman's rank correlation, NaN where there is none."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from scipy import stats
from torch import Tensor

__all__ = ["FEWEST", "rank_correlation"]

FEWEST = 3
"""The fewest pairs: two always correlate."""


def rank_correlation(first: Float[Tensor, " n"] | Int[Tensor, " n"], second: Float[Tensor, " n"]) -> float:
    """Spearman's rank correlation of pairs of numbers.

    Args:
        first: The first number of each pair.
        second: The second.

    Returns:
        The correlation; NaN for fewer than three pairs, and where one of both is the same in all.

    Example:
        >>> round(rank_correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 4.0, 9.0])), 6)
        1.0
        >>> rank_correlation(torch.tensor([1.0, 2.0, 3.0]), torch.ones(3))
        nan
    """
    if len(first) < FEWEST or any(bool(torch.isnan(x).any()) or bool((x == x[0]).all()) for x in (first, second)):
        return math.nan
    return float(stats.spearmanr(first.numpy(), second.numpy()).statistic)
