"""A table as text for a terminal, and as HTML for a notebook."""

from __future__ import annotations

import html
from typing import ClassVar

from landscope.wording import without_nan

__all__ = ["TextTable"]

_SHORT = 40


class TextTable:
    """Base of what is shown as a table; a subclass gives its headings and cells."""

    headings: ClassVar[tuple[str, ...]]

    def cells(self) -> list[list[str]]:
        """Names and numbers as text, row by row."""
        raise NotImplementedError

    def notes(self) -> list[str]:
        """Sentences below the table; none by default."""
        return []

    def __repr__(self) -> str:
        lines = [list(self.headings), *_without_nan(self.cells())]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        rows = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        return "\n".join([*rows, *map(without_nan, self.notes())])

    def _repr_html_(self) -> str:
        rows = "".join(_row("td", line) for line in _without_nan(self.cells()))
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in map(without_nan, self.notes()))
        return f"<table><thead>{_row('th', self.headings)}</thead><tbody>{rows}</tbody></table>{notes}"


def _without_nan(cells: list[list[str]]) -> list[list[str]]:
    return [[without_nan(cell) for cell in line] for line in cells]


def _row(tag: str, line: list[str] | tuple[str, ...]) -> str:
    """A row whose short cells, such as numbers with intervals, stay on one line."""
    styles = [' style="white-space: nowrap"' if len(cell) < _SHORT else "" for cell in line]
    cells = (f"<{tag}{style}>{html.escape(cell)}</{tag}>" for style, cell in zip(styles, line, strict=True))
    return f"<tr>{''.join(cells)}</tr>"
