"""A temporary setting of torch's number of threads."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

import torch

__all__ = ["one_thread"]


@contextlib.contextmanager
def one_thread() -> Generator[None]:
    """Run torch operations on one thread, and restore the setting afterwards.

    Example:
        >>> before = torch.get_num_threads()
        >>> with one_thread():
        ...     torch.get_num_threads()
        1
        >>> torch.get_num_threads() == before
        True
    """
    threads = torch.get_num_threads()
    if threads > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if threads > 1:
            torch.set_num_threads(threads)
