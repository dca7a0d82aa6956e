"""Telling a person how far a stage is, or not."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from landscope.protocols import ProgressCallback, silent

__all__ = ["ConsoleReporter", "QuietReporter", "Reporter"]


@runtime_checkable
class Reporter(Protocol):
    """Shows progress and notes."""

    def stage(self, title: str) -> contextlib.AbstractContextManager[ProgressCallback]:
        """A bar for one stage; call it with what is done and the total."""
        ...

    def note(self, text: str) -> None:
        """One line."""
        ...


class QuietReporter:
    """Shows nothing."""

    @contextlib.contextmanager
    def stage(self, title: str) -> Generator[ProgressCallback]:  # noqa: ARG002 - the protocol's argument
        """A bar that is not drawn."""
        yield silent

    def note(self, text: str) -> None:
        """Nothing."""


class ConsoleReporter:
    """Draws bars with the time left on a console.

    Args:
        console: Where; standard error by default, so that standard output stays clean.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)

    @contextlib.contextmanager
    def stage(self, title: str) -> Generator[ProgressCallback]:
        """A bar that goes away when the stage ends."""
        columns = (
            TextColumn("{task.description:<34}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(title, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)

    def note(self, text: str) -> None:
        """Print one line."""
        self._console.print(text, highlight=False, soft_wrap=True)
