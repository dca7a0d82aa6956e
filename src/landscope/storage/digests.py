"""The digest of a content: equal for equal values, whatever file or device they are on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["digest_of", "in_numpy"]


def digest_of(value: Any) -> str:
    """SHA-256 of numbers, texts and tensors in mappings and sequences of any depth.

    Args:
        value: The content; the order of a mapping does not count.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> digest_of({"a": 1, "b": [torch.zeros(2)]}) == digest_of({"b": [torch.zeros(2)], "a": 1})
        True
        >>> digest_of(torch.zeros(2)) == digest_of(torch.zeros(2, 1))
        False
    """
    digest = hashlib.sha256()
    _add(digest, value)
    return digest.hexdigest()


def in_numpy(tensor: Tensor) -> np.ndarray:
    """The values of a tensor, contiguous in memory."""
    values = tensor.detach().cpu()
    if values.dtype == torch.bfloat16:  # numpy has no bfloat16; float32 represents it exactly
        values = values.float()
    return np.array(values.numpy(), order="C", copy=None)


def _add(digest: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        value = in_numpy(value)
    if isinstance(value, np.ndarray):
        digest.update(f"array {value.dtype.str} {value.shape}:".encode())
        digest.update(value.tobytes())
    elif isinstance(value, Mapping):
        digest.update(f"mapping {len(value)}:".encode())
        for key in sorted(value, key=str):
            _add(digest, str(key))
            _add(digest, value[key])
    elif isinstance(value, list | tuple):
        digest.update(f"sequence {len(value)}:".encode())
        for item in value:
            _add(digest, item)
    else:
        digest.update(f"{type(value).__name__} {value!r};".encode())
