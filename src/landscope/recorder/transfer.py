"""Tensors on their way from a device to the CPU, while the training goes on."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Transfer"]


class Transfer:
    """Copies of tensors on the CPU; of a CUDA device they arrive later, and nothing waits for them before.

    Tensors on the CPU are given as they are, without a copy.

    Args:
        tensors: The tensors; they must stay as they are until :meth:`wait` has returned.
    """

    def __init__(self, *tensors: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        self._copies = [self._begun(tensor) for tensor in tensors]
        if any(tensor.is_cuda for tensor in tensors):
            self._event = torch.cuda.Event()
            self._event.record()

    @staticmethod
    def _begun(tensor: Tensor) -> Tensor:
        if not tensor.is_cuda:
            return tensor.cpu()
        return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)

    @property
    def has_arrived(self) -> bool:
        """Whether the copies are complete; it does not wait."""
        return self._event is None or self._event.query()

    def wait(self) -> list[Tensor]:
        """The copies, once they are complete."""
        if self._event is not None:
            self._event.synchronize()
        return self._copies
