"""Progress of long computations: on a console, to a callback, or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from landscope.protocols import ProgressCallback, silent

__all__ = ["CallbackReporter", "ConsoleReporter", "QuietReporter", "Reporter", "StageCallback", "reporter_of"]


StageCallback = Callable[[str, int, int], None]
"""``callback(stage, done, total)``: title of the stage, completed amount, and total."""

ErrorsCallback = Callable[[int, int, Sequence[float]], None]
"""A function that receives the current task, the step, and the error of every task."""


@runtime_checkable
class Reporter(Protocol):
    """Shows progress and notes."""

    def stage(self, title: str) -> contextlib.AbstractContextManager[ProgressCallback]:
        """A progress bar for one stage, as a function of the completed amount and the total."""
        ...

    def note(self, text: str) -> None:
        """Show one line of text."""
        ...

    def errors(self, title: str, tasks: Sequence[str]) -> contextlib.AbstractContextManager[ErrorsCallback]:
        """A display of the current errors of several tasks."""
        ...


class QuietReporter:
    """A reporter that shows nothing."""

    @contextlib.contextmanager
    def stage(self, title: str) -> Generator[ProgressCallback]:  # noqa: ARG002 - the protocol's argument
        """A progress bar that is not drawn."""
        yield silent

    def note(self, text: str) -> None:
        """Show nothing."""

    @contextlib.contextmanager
    def errors(self, title: str, tasks: Sequence[str]) -> Generator[ErrorsCallback]:  # noqa: ARG002 - the protocol's argument
        """A display that is not drawn."""
        yield lambda task, step, errors: None  # noqa: ARG005 - the callback's arguments


class ConsoleReporter:
    """A reporter that draws progress bars with the remaining time on a console.

    Args:
        console: Console to draw on; standard error by default, so that standard output holds results only.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)

    @contextlib.contextmanager
    def stage(self, title: str) -> Generator[ProgressCallback]:
        """A progress bar that disappears when the stage ends."""
        columns = (
            TextColumn("{task.description:<34}"),
            BarColumn(),
            TaskProgressColumn(),
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

    @contextlib.contextmanager
    def errors(self, title: str, tasks: Sequence[str]) -> Generator[ErrorsCallback]:
        """A table that is updated at every call; the last errors stay visible."""

        def table(task: int, step: int, errors: Sequence[float]) -> Table:
            drawn = Table(title=f"{title}: task {tasks[task]}, step {step}", title_justify="left", min_width=60)
            for name in tasks:
                drawn.add_column(f"task {name}", justify="right")
            drawn.add_row(*(f"{100 * error:.2f} %" for error in errors))
            return drawn

        with Live(console=self._console, refresh_per_second=4) as live:
            yield lambda task, step, errors: live.update(table(task, step, errors))
        if not self._console.is_terminal:
            self._console.print()  # only a terminal's last table ends its line


class CallbackReporter(QuietReporter):
    """A reporter that passes the progress to a callback.

    Args:
        callback: Function ``callback(stage, done, total)``.
    """

    def __init__(self, callback: StageCallback) -> None:
        self._callback = callback

    @contextlib.contextmanager
    def stage(self, title: str) -> Generator[ProgressCallback]:
        """Progress of one stage."""
        yield lambda done, total: self._callback(title, done, total)


def reporter_of(progress: bool | StageCallback | None) -> Reporter:
    """The reporter for an argument ``progress``.

    Args:
        progress: True for progress bars, False for none, a callback ``(stage, done, total)``, or None for bars only
            in a terminal or a notebook.

    Returns:
        The reporter.
    """
    if callable(progress):
        return CallbackReporter(progress)
    console = Console(stderr=True)
    shown = progress if progress is not None else console.is_terminal or console.is_jupyter
    return ConsoleReporter(console) if shown else QuietReporter()
