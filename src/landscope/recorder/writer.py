"""A thread that writes blocks of rows while the training goes on."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from landscope.recorder.blocks import BlockPool, Rows

__all__ = ["BlockWriter"]

_WAITING = 2
"""Blocks that may wait to be written; the training waits for the disk where there would be more."""


class BlockWriter:
    """Writes blocks in the order in which they come; after one that failed, no further one.

    Args:
        write: ``write(rows)`` writes a block.
        pool: Where its memory goes back to.
    """

    def __init__(self, write: Callable[[Rows], None], pool: BlockPool) -> None:
        self._write, self._pool = write, pool
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: collections.deque[Future[None]] = collections.deque()
        self._has_failed, self._process = False, os.getpid()

    def begin(self) -> None:
        """Write again after a failure: the rows that are missing will be recorded again."""
        self._has_failed = False

    def add(self, rows: Rows) -> None:
        """Have a block written.

        Raises:
            Exception: What ``write`` raised of an earlier block.
        """
        self.wait(_WAITING - 1)
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "landscope-recorder")  # at exit, Python waits until all is written
        try:
            self._waiting.append(self._thread.submit(self._written, rows))
        except RuntimeError:  # Python ends, or the system has no further thread
            self._thread = None
            self.wait()
            self._written(rows)

    def wait(self, leave: int = 0) -> None:
        """Wait until at most some blocks are not written yet.

        Args:
            leave: Their number.

        Raises:
            Exception: What ``write`` raised; once.
        """
        if self._process != os.getpid():  # a fork: the thread, and what it has to write, are those of the parent
            self._thread, self._process = None, os.getpid()
            self._waiting.clear()
        while len(self._waiting) > leave:
            first = self._waiting[0]
            try:
                first.result()
            finally:
                if first.done():  # or else Ctrl-C came, and the thread still writes
                    self._waiting.popleft()

    def _written(self, rows: Rows) -> None:
        try:
            if not self._has_failed:
                self._write(rows)
        except BaseException:
            self._has_failed = True
            raise
        finally:
            self._pool.give_back(rows.weights)
