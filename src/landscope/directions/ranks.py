"""Some ranks out of many, evenly spaced on a logarithmic scale."""

from __future__ import annotations

import math

import torch
from jaxtyping import Int
from torch import Tensor

from landscope._checks import check_count

__all__ = ["log_spaced_ranks"]


def log_spaced_ranks(last: int, count: int | None = None, first: int = 1) -> Int[Tensor, " m"]:
    """Ranks from ``first`` to ``last``: all of them, or about ``count``, log-spaced.

    Args:
        last: Last rank; none are returned where it lies before ``first``.
        count: Smallest number of ranks; all by default.
        first: First rank.

    Returns:
        Rising ranks, counted from 1.

    Raises:
        InputError: If a number is no whole one, or ``first`` is not positive.

    Example:
        >>> log_spaced_ranks(100, 8).tolist()
        [1, 2, 4, 7, 14, 27, 52, 100]
    """
    check_count("first", first)
    check_count("last", last, minimum=0)
    if count is not None:
        check_count("count", count)
    if count is None or count >= last - first + 1:
        return torch.arange(first, max(last, first - 1) + 1)
    points = count
    while True:  # dense at the low end, where several points round to one rank
        ranks = torch.logspace(math.log10(first), math.log10(last), points, dtype=torch.float64).round().long().unique()
        if len(ranks) >= count:
            return ranks
        points += count - len(ranks)
