"""A table in the terminal, with the course of each quantity."""

from __future__ import annotations

import collections
import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

__all__ = ["TerminalSink", "sparkline"]

_SHOWN, _SECONDS = 24, 0.25
_OF_A_KIND = 5
"""Rows of a kind, such as the drift of layers: those of the largest values."""
_BARS = "▁▂▃▄▅▆▇█"


class TerminalSink:
    """Draws the last value and the course of each quantity, at most four times a second.

    Args:
        path: Not used.
        console: Console to draw on; standard error by default.
    """

    def __init__(self, path: Path | None = None, console: Console | None = None) -> None:  # noqa: ARG002 - as of all
        self._console = console or Console(stderr=True)
        self._courses: dict[str, collections.deque[tuple[int, float]]] = {}
        self._live = Live(console=self._console, auto_refresh=False)
        self._live.start()
        self._drawn = -math.inf

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values, and draw them if the last drawing is old."""
        for name, value in values.items():
            self._courses.setdefault(name, collections.deque(maxlen=_SHOWN)).append((step, value))
        if (now := time.monotonic()) - self._drawn >= _SECONDS:
            self._drawn = now
            self._live.update(self._table(), refresh=True)

    def close(self) -> None:
        """Draw the last values; they stay."""
        self._live.update(self._table(), refresh=True)
        self._live.stop()
        if not self._console.is_terminal:
            self._console.line()  # rich ends the table without it in a file

    def _table(self) -> Table:
        table = Table(title="landscope", title_justify="left")
        for title in ("quantity", "step", "value", "course"):
            table.add_column(title, justify="right" if title in ("step", "value") else "left", no_wrap=True)
        for names in self._kinds():
            for name in names[:_OF_A_KIND]:
                step, value = self._courses[name][-1]
                table.add_row(name, str(step), f"{value:.4g}", sparkline(value for _, value in self._courses[name]))
            if len(names) > _OF_A_KIND:
                table.add_row(f"... {len(names) - _OF_A_KIND} more")
        return table

    def _kinds(self) -> list[list[str]]:
        """The names of each kind; of many, the largest first."""
        kinds: dict[str, list[str]] = {}
        for name in self._courses:
            kinds.setdefault(name.partition("/")[0], []).append(name)
        return [
            sorted(names, key=lambda name: -self._courses[name][-1][1]) if len(names) > _OF_A_KIND else names
            for names in kinds.values()
        ]


def sparkline(values: Iterable[float]) -> str:
    """The course of some values as a line of bars; a dot where one is not finite.

    Example:
        >>> sparkline([1.0, 2.0, 8.0])
        '▁▂█'
    """
    shown = list(values)
    known = [value for value in shown if math.isfinite(value)]
    low, span = min(known, default=0.0), max(known, default=0.0) - min(known, default=0.0)
    heights = [(value - low) / span * (len(_BARS) - 1) if span and math.isfinite(value) else 0.0 for value in shown]
    return "".join(
        _BARS[round(height)] if math.isfinite(value) else "·" for height, value in zip(heights, shown, strict=True)
    )
