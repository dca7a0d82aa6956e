"""The table of exponents of a study: every set of directions, on every window, and every null."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from landscope.law.exponents import Exponents
from landscope.law.intervals import with_interval
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.saved import Saved
from landscope.study.stages.controls import ROWS
from landscope.study.text_table import TextTable

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


@dataclasses.dataclass(frozen=True, repr=False)
class ExponentTable(TextTable):
    """Exponents of a study, one row for each set of directions and window.

    Args:
        rows: All rows; the first is the window along its own modes.
    """

    headings: ClassVar[tuple[str, ...]] = ("", *EXPONENTS, "directions")
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
