"""Positions of the weights of a layer in few numbers: runs of equal steps."""

from __future__ import annotations

import bisect

import torch
from jaxtyping import Int
from torch import Tensor

from landscope.errors import StorageError

__all__ = ["columns_of", "runs_of"]


def runs_of(columns: Int[Tensor, " n"]) -> Int[Tensor, "runs 3"]:
    """Start, step and length of each run of equally distant positions; a layer has about two runs a row.

    Example:
        >>> runs_of(torch.tensor([0, 1, 2, 9, 3, 4, 5])).tolist()
        [[0, 1, 3], [9, -6, 2], [4, 1, 2]]
    """
    values = columns.cpu()
    steps = values.diff()
    ends = ((steps[1:] != steps[:-1]).nonzero().flatten() + 1).tolist()  # where another step begins
    runs, at = list[tuple[int, int, int]](), 0
    while at < len(values):
        if at == len(steps):
            end, step = at, 1
        else:
            place = bisect.bisect_right(ends, at)
            end, step = (ends[place] if place < len(ends) else len(steps)), int(steps[at])
        runs.append((int(values[at]), step, end - at + 1))
        at = end + 1
    return torch.tensor(runs, dtype=torch.int64, device=columns.device).view(-1, 3)


def columns_of(runs: Int[Tensor, "runs 3"], count: int) -> Int[Tensor, " n"]:
    """The positions that :func:`runs_of` described.

    Args:
        runs: Start, step and length of each run.
        count: Number of positions.

    Raises:
        StorageError: If the runs have another number.

    Example:
        >>> columns_of(torch.tensor([[0, 1, 3], [9, -6, 2]]), 5).tolist()
        [0, 1, 2, 9, 3]
    """
    start, step, length = runs.to(torch.int64).T
    if bool((length < 1).any()) or int(length.sum()) != count:
        raise StorageError(
            expected=f"{count} positions of weights", got=f"runs of {int(length.sum())}",
            hint="Pass what penalty.state_dict() returned.",
        )  # fmt: skip
    first = length.cumsum(0) - length
    within = torch.arange(count, device=runs.device) - first.repeat_interleave(length)
    return start.repeat_interleave(length) + step.repeat_interleave(length) * within
