"""Whether a model was trained while nothing held its earlier tasks."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.weak import WeakIdKeyDictionary

from landscope.penalties.proximal import times_held

__all__ = ["ChangesInPlace"]

_SURE = 20
"""Changes of one parameter that are a training. Loaded, averaged or merged weights are one change or a few."""

_FUSED_STEPS = WeakIdKeyDictionary()
"""Steps of fused optimisers on each parameter, which PyTorch does not count as changes."""


class ChangesInPlace:
    """Counts how often parameters were changed in place, as every step of an optimiser does.

    PyTorch counts these changes, but not those by a fused optimiser, the default of the Hugging Face Trainer, whose
    steps are counted here. Parameters that were replaced by others since, and copies, are not counted. Nor are those
    that :class:`landscope.ProximalSteps` of any penalty held meanwhile, such as ``memory.held``.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> changes = ChangesInPlace([weight])
        >>> with torch.no_grad():
        ...     for _ in range(30):
        ...         _ = weight.add_(0.1)
        >>> changes.are_a_training([weight])
        True
        >>> changes.start([weight])
        >>> changes.are_a_training([weight])
        False
    """

    def __init__(self, tensors: Iterable[Tensor] = ()) -> None:
        self.start(tensors)

    def start(self, tensors: Iterable[Tensor]) -> None:
        """Count from now on."""
        _count_fused_steps()
        self._before = {id(tensor): (_changes(tensor), times_held(tensor)) for tensor in tensors}

    def are_a_training(self, tensors: Iterable[Tensor]) -> bool:
        """Whether there were so many that the model must have been trained since."""
        return any(self._was_trained(tensor) for tensor in tensors)

    def _was_trained(self, tensor: Tensor) -> bool:
        changes, held = self._before.get(id(tensor), (_changes(tensor), 0))
        return _changes(tensor) - changes >= _SURE and times_held(tensor) == held


def _changes(tensor: Tensor) -> int:
    return _FUSED_STEPS.get(tensor, 0) + (0 if tensor.is_inference() else tensor._version)


@functools.cache
def _count_fused_steps() -> None:
    """Count them from now on, once in a process."""
    register_optimizer_step_post_hook(_count_if_fused)


def _count_if_fused(optimizer: torch.optim.Optimizer, *_: object) -> None:
    for group in optimizer.param_groups:
        for tensor in group["params"] if group.get("fused") else ():
            _FUSED_STEPS[tensor] = _FUSED_STEPS.get(tensor, 0) + 1
