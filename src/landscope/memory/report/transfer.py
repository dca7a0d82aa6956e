"""What is kept of tasks that were learnt one after another: averages, forgetting, transfer, and the frontier."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["average_error", "backward_transfer", "forgetting", "forgetting_of_each", "is_on_frontier"]


def average_error(error: Float[Tensor, "after tasks"]) -> float:
    """Mean error, after the last task, of the tasks learnt so far.

    Args:
        error: Error of each task (columns, in the order of learning) after each task was learnt (rows).

    Example:
        >>> error = torch.tensor([[0.1, 0.9, 0.8], [0.3, 0.2, 0.8]])  # the third task is not learnt yet
        >>> round(average_error(error), 6)
        0.25
    """
    return float(error[-1, : len(error)].mean())


def forgetting(error: Float[Tensor, "after tasks"]) -> float:
    r"""Mean rise of the error of each task from its minimum, without the last task (Chaudhry et al. 2018).

    .. math:: \frac{1}{k - 1} \sum_{j < k} \left(e_{kj} - \min_{j \le i < k} e_{ij}\right)

    Args:
        error: Errors e_ij of task j after task i, of the k tasks that were learnt.

    Example:
        >>> round(forgetting(torch.tensor([[0.1, 0.9], [0.4, 0.2]])), 6)
        0.3
    """
    return float(forgetting_of_each(error).mean()) if len(error) > 1 else 0.0


def forgetting_of_each(error: Float[Tensor, "after tasks"]) -> Float[Tensor, " earlier"]:
    """Rise of the error of each task from its minimum, without the last task; see :func:`forgetting`.

    Example:
        >>> forgetting_of_each(torch.tensor([[0.125, 0.875, 1.0], [0.375, 0.25, 1.0], [0.5, 0.25, 0.5]])).tolist()
        [0.375, 0.0]
    """
    earlier = [error[task:, task] for task in range(len(error) - 1)]
    return torch.stack([column[-1] - column[:-1].min() for column in earlier]) if earlier else error.new_zeros(0)


def backward_transfer(error: Float[Tensor, "after tasks"]) -> float:
    r"""Mean fall of the error of each task since it was learnt, without the last (Lopez-Paz & Ranzato 2017).

    .. math:: \frac{1}{k - 1} \sum_{j < k} (e_{jj} - e_{kj})

    Args:
        error: Errors e_ij of task j after task i, of the k tasks that were learnt.

    Example:
        >>> round(backward_transfer(torch.tensor([[0.1, 0.9], [0.4, 0.2]])), 6)
        -0.3
    """
    if len(error) < 2:
        return 0.0
    return float((error.diagonal()[:-1] - error[-1, : len(error) - 1]).mean())


def is_on_frontier(error: Float[Tensor, "points 2"]) -> Bool[Tensor, " points"]:
    """Whether no other point is as good in both errors and better in one.

    Args:
        error: Error of the old tasks and of the new one at each point; a point with a NaN is never on the frontier.

    Example:
        >>> is_on_frontier(torch.tensor([[1.0, 3.0], [2.0, 2.0], [2.0, 3.0], [3.0, 1.0]])).tolist()
        [True, True, False, True]
    """
    known = ~error.isnan().any(1)
    no_worse, better = (error[:, None] <= error).all(2), (error[:, None] < error).any(2)
    return known & ~(no_worse & better).any(0)
