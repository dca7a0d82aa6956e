"""Numbers that all processes of a distributed training must share, because the weights follow from them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist

__all__ = ["means_over_processes", "sums_over_processes"]


def sums_over_processes(numbers: Sequence[float], device: torch.device) -> list[float]:
    """The sums over the processes of a distributed training; the numbers themselves in any other.

    Every process must call it, with as many numbers.

    Args:
        numbers: The numbers of this process.
        device: Device of its weights, over which processes exchange numbers.

    Example:
        >>> sums_over_processes([1.0, 2.0], torch.device("cpu"))
        [1.0, 2.0]
    """
    if _n_processes() == 1:
        return list(numbers)
    together = torch.tensor(numbers, dtype=torch.float64, device=device)
    dist.all_reduce(together)
    return together.tolist()


def means_over_processes(numbers: Sequence[float], device: torch.device) -> list[float]:
    """The means over the processes of a distributed training; see :func:`sums_over_processes`."""
    return [total / _n_processes() for total in sums_over_processes(numbers, device)]


def _n_processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
