"""The table of exponents of a study: every set of directions, on every window, and every null."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

from landscope.law.exponents import Exponents
from landscope.law.intervals import with_interval
from landscope.law.inverse_relation import FRESH
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.saved import Saved
from landscope.study.stages.controls import ROWS as CONTROL_ROWS
from landscope.study.stages.dynamics import ROWS as DYNAMICS_ROWS
from landscope.study.text_table import TextTable

__all__ = ["EXPONENTS", "ExponentTable", "exponent_rows", "exponent_table", "row_results"]

EXPONENTS = ("psi", "psi_D", "psi_tau", "gamma")
"""The exponents, in the order of the table."""


def row_results(n_nulls: int, n_processes: int) -> list[Saved[Exponents]]:
    """Every row that a study may have, in order: in-sample, fresh data, the nulls, and the controls."""
    draws = range(n_processes)
    return [
        saved.IN_SAMPLE, saved.FRESH, *map(saved.process, draws), *map(saved.process_fresh, draws),
        *map(saved.null, range(n_nulls)), *map(saved.exponents, (*CONTROL_ROWS, *DYNAMICS_ROWS)),
    ]  # fmt: skip


def exponent_rows(analysis: Analysis) -> list[Exponents]:
    """The rows that a study has."""
    rows = map(analysis.load_if_there, row_results(analysis.settings.n_nulls, analysis.settings.n_processes))
    return [row for row in rows if row is not None]


@dataclasses.dataclass(frozen=True, repr=False)
class ExponentTable(TextTable):
    """Exponents of a study, one row for each set of directions and window.

    Args:
        rows: All rows; the first is the window along its own modes.
        remarks: Sentences on psi_infinity, and on rows of the law that were not measured.
    """

    headings: ClassVar[tuple[str, ...]] = ("", *EXPONENTS, "directions")
    rows: tuple[Exponents, ...]
    remarks: tuple[str, ...] = ()

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

    def notes(self) -> list[str]:
        """Why a row has no exponents or no intervals, psi_infinity, and which rows are missing."""
        empty = [_why_empty(row) for row in self.rows if math.isnan(row.psi)]
        return [*empty, *filter(None, [self.without_interval]), *self.remarks]

    @property
    def without_interval(self) -> str:
        """Which exponents have no interval, and why; empty where all have one."""
        rows = {key: sum(math.isnan(getattr(row, f"{key}_interval")[0]) for row in self.rows) for key in EXPONENTS}
        if not any(row.interval_reason for row in self.rows):
            return ""
        counted = ", ".join(f"{key} of {count}" for key, count in rows.items() if count)
        return (
            f"Rows without an interval: {counted}, of {len(self.rows)}. Directions relax too slowly for blocks of "
            "time, or were chosen by their variance in the same window; interval_reason of a row says which. Further "
            "seeds give an interval."
        )


def exponent_table(analysis: Analysis) -> ExponentTable:
    """The table of a study, with the reason where it has no fresh data."""
    reason = "" if analysis.has(saved.FRESH) else analysis.folder.read_note("not-measured").get(saved.FRESH.name, "")
    missing = (f"{FRESH}: not measured: {reason}",) if reason else ()
    return ExponentTable(tuple(exponent_rows(analysis)), (*_without_end(analysis), *missing))


def _without_end(analysis: Analysis) -> tuple[str, ...]:
    """Psi of a window without end, under the table; or why it was not measured."""
    limit = analysis.load_if_there(saved.WINDOW_LIMIT)
    if limit is None:
        reason = analysis.folder.read_note("not-measured").get(saved.WINDOW_LIMIT.name, "")
        return (f"ψ∞: not measured: {reason}",) if reason else ()
    value = with_interval(limit.psi_infinity, limit.psi_infinity_interval)
    return (f"ψ∞ = {value} of a stationary process in a window without end, along {limit.name}",)


def _why_empty(row: Exponents) -> str:
    first, last = row.mode_range
    return (
        f"{row.name}: no exponents, as a fit needs three directions; of {first} to {last}, {row.n_still} did not move "
        f"and {row.n_censored} have no flatness within reach"
    )
