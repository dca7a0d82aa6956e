"""Whether a model was trained while nothing held its earlier tasks."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from landscope.in_place_changes import count_fused_steps, times_changed
from landscope.penalties.proximal import times_held

__all__ = ["ChangesInPlace"]

_SURE = 20
"""Changes of one parameter that are a training. Loaded, averaged or merged weights are one change or a few."""


class ChangesInPlace:
    """Counts how often parameters were changed in place, as every step of an optimiser does.

    Parameters that were replaced by others since, and copies, are not counted. Nor are those
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
        count_fused_steps()
        self._before = {id(tensor): (times_changed(tensor), times_held(tensor)) for tensor in tensors}

    def are_a_training(self, tensors: Iterable[Tensor]) -> bool:
        """Whether there were so many that the model must have been trained since."""
        return any(self._was_trained(tensor) for tensor in tensors)

    def _was_trained(self, tensor: Tensor) -> bool:
        changes, held = self._before.get(id(tensor), (times_changed(tensor), 0))
        return times_changed(tensor) - changes >= _SURE and times_held(tensor) == held
