"""How often the values of a tensor were changed in place, also by optimisers whose changes PyTorch does not count."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.weak import WeakIdKeyDictionary

__all__ = ["count_fused_steps", "times_changed"]

_FUSED_STEPS = WeakIdKeyDictionary()
"""Steps of fused optimisers on each parameter, which PyTorch does not count as changes."""


def times_changed(tensor: Tensor) -> int:
    """How often a tensor was changed in place: the count of PyTorch and the steps of fused optimisers.

    Only the difference of two counts has a meaning. Steps of fused optimisers, the default of the Hugging Face Trainer,
    count from the first :func:`count_fused_steps`. Changes of ``tensor.data`` do not count.

    Example:
        >>> count_fused_steps()
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> weight.grad = torch.ones(2)
        >>> before = times_changed(weight)
        >>> torch.optim.SGD([weight], lr=0.1, fused=True).step()
        >>> times_changed(weight) - before
        1
    """
    return _FUSED_STEPS.get(tensor, 0) + (0 if tensor.is_inference() else tensor._version)


@functools.cache
def count_fused_steps() -> None:
    """Count the steps of fused optimisers from now on, once in a process."""
    register_optimizer_step_post_hook(_count_if_fused)


def _count_if_fused(optimizer: torch.optim.Optimizer, *_: object) -> None:
    for group in optimizer.param_groups:
        for tensor in group["params"] if group.get("fused") else ():
            _FUSED_STEPS[tensor] = _FUSED_STEPS.get(tensor, 0) + 1
