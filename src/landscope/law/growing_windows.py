"""Variances in windows of growing length, cut from one recording."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["growing_lengths", "variance_in_windows"]

_FEWEST_ROWS = 20
_MOST_LENGTHS = 8


def growing_lengths(rows: int) -> Float[Tensor, " n"]:
    """Lengths that double up to all rows: at most eight, none below twenty rows where all has more.

    Example:
        >>> growing_lengths(100).tolist()
        [25.0, 50.0, 100.0]
    """
    lengths = [rows >> halved for halved in range(_MOST_LENGTHS) if rows >> halved >= min(rows, _FEWEST_ROWS)]
    return torch.tensor(sorted(lengths), dtype=torch.float64)


def variance_in_windows(theta: Float[Tensor, "T k"], lengths: Float[Tensor, " n"]) -> Float[Tensor, "n k"]:
    """Mean over the windows of each length, one after another, of the variance about their own means.

    Example:
        >>> variance_in_windows(torch.tensor([[0.0], [2.0], [4.0], [6.0]]), torch.tensor([2.0, 4.0])).tolist()
        [[1.0], [5.0]]
    """
    rows = []
    for length in lengths.long().tolist():
        whole = theta[: len(theta) // length * length].double().view(-1, length, theta.shape[1])
        rows.append(whole.var(dim=1, correction=0).mean(dim=0))
    return torch.stack(rows)
