"""The table of exponents of a study: every set of directions, on every window, and every null."""

from __future__ import annotations

import dataclasses
import html

from landscope.law.exponents import Exponents
from landscope.law.intervals import with_interval
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.saved import Saved
from landscope.study.stages.controls import ROWS

__all__ = ["EXPONENTS", "ExponentTable", "exponent_rows", "row_results"]

EXPONENTS = ("psi", "psi_D", "psi_tau", "gamma")
"""The exponents, in the order of the table."""


def row_results(n_nulls: int) -> list[Saved[Exponents]]:
    """Every row that a study may have, in order: in-sample, fresh data, nulls, and the controls."""
    process = saved.PROCESS, saved.PROCESS_FRESH
    return [saved.IN_SAMPLE, saved.FRESH, *process, *map(saved.null, range(n_nulls)), *map(saved.exponents, ROWS)]


def exponent_rows(analysis: Analysis) -> list[Exponents]:
    """The rows that a study has."""
    rows = map(analysis.load_if_there, row_results(analysis.settings.n_nulls))
    return [row for row in rows if row is not None]


@dataclasses.dataclass(frozen=True)
class ExponentTable:
    """Exponents of a study, one row for each set of directions and window.

    Args:
        rows: All rows; the first is the window along its own modes.
    """

    rows: tuple[Exponents, ...]

    @property
    def in_sample(self) -> Exponents:
        """The window along its own principal modes: the paper's analysis."""
        return self.rows[0]

    def __getitem__(self, name: str) -> Exponents:
        """The first row of that name."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"no row {name!r}; the rows are {', '.join(dict.fromkeys(row.name for row in self.rows))}")

    def cells(self) -> list[list[str]]:
        """Names and numbers as text."""
        return [
            [row.name, *(with_interval(getattr(row, key), getattr(row, f"{key}_interval")) for key in EXPONENTS),
             str(row.n_used)]
            for row in self.rows
        ]  # fmt: skip

    def __repr__(self) -> str:
        headings = ["", *EXPONENTS, "directions"]
        lines = [headings, *self.cells()]
        widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
                         for line in lines)  # fmt: skip

    def _repr_html_(self) -> str:
        cells = "".join(
            "<tr>" + "".join(f'<td style="white-space: nowrap">{html.escape(cell)}</td>' for cell in line) + "</tr>"
            for line in self.cells()
        )
        headings = "".join(f"<th>{html.escape(name)}</th>" for name in ("", *EXPONENTS, "directions"))
        return f"<table><thead><tr>{headings}</tr></thead><tbody>{cells}</tbody></table>"
