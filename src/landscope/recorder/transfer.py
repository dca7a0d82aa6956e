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
        self._copies = [self._begun(tensor) for tensor in tensors]
        self._events = [self._end_of_copies(device) for device in {one.device for one in tensors if one.is_cuda}]

    @staticmethod
    def _begun(tensor: Tensor) -> Tensor:
        if not tensor.is_cuda:
            return tensor.cpu()
        copy = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=True)
        return copy.copy_(tensor, non_blocking=True)

    @staticmethod
    def _end_of_copies(device: torch.device) -> torch.cuda.Event:
        """What says that the copies are complete: in the stream of that device, which need not be the current one."""
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(device))
        return event

    @property
    def has_arrived(self) -> bool:
        """Whether the copies are complete; it does not wait."""
        return all(event.query() for event in self._events)

    def wait(self) -> list[Tensor]:
        """The copies, once they are complete."""
        for event in self._events:
            event.synchronize()
        return self._copies
