"""A switch to plain attention, because torch's fused attention has no second derivative and no forward mode."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

__all__ = ["plain_kernels"]


@contextlib.contextmanager
def plain_kernels() -> Generator[None]:
    """Compute attention with plain operations, which have all derivatives, and restore the settings afterwards.

    Example:
        >>> before = torch.backends.mha.get_fastpath_enabled()
        >>> with plain_kernels():
        ...     torch.backends.mha.get_fastpath_enabled()
        False
        >>> torch.backends.mha.get_fastpath_enabled() == before
        True
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
