"""Sinks around what the user gives: a function, a writer of TensorBoard, a run of W&B; they stay open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["CallbackSink", "LogSink", "WriterSink"]


class CallbackSink:
    """Calls a function ``f(name, value, step)`` for each number."""

    def __init__(self, function: Callable[[str, float, int], Any]) -> None:
        self._function = function

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Call it."""
        for name, value in values.items():
            self._function(name, value, step)

    def close(self) -> None:
        """Do nothing."""


class WriterSink:
    """Writes to an object with ``add_scalar(name, value, step)``, such as a ``SummaryWriter``."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add scalars."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush what the writer holds; the user closes it."""
        if hasattr(self._writer, "flush"):
            self._writer.flush()


class LogSink:
    """Writes to an object with ``log(values)``, such as a run of W&B: the step is one of the values.

    Runs count calls of their own training loop too, so that a number of steps of landscope might seem to go back.
    """

    def __init__(self, run: Any) -> None:
        self._run = run

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values, with their step."""
        self._run.log({**values, "landscope/step": step})

    def close(self) -> None:
        """Do nothing: the run is the user's."""
