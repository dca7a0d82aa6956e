"""Numbers on a device, read together: the host waits for a GPU once for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from landscope._checks import device_with_float64

__all__ = ["read_numbers"]


def read_numbers(numbers: Sequence[Tensor]) -> list[float]:
    """The values of tensors of one number each, all on one device.

    Example:
        >>> read_numbers([torch.tensor(0.5), torch.tensor([3]), torch.tensor(True)])
        [0.5, 3.0, 1.0]
    """
    if not numbers or numbers[0].device.type == "cpu":
        return [float(number) for number in numbers]
    has_float64 = device_with_float64(numbers[0].device) == numbers[0].device
    wide = torch.float64 if has_float64 else torch.float32
    return torch.stack([number.detach().reshape(()).to(wide) for number in numbers]).tolist()
