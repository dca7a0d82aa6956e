"""The table of exponents of a study: every set of directions, on every window, and every null."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import ClassVar

from landscope.law.exponents import Exponents
from landscope.law.intervals import with_interval
from landscope.law.inverse_relation import FRESH
from landscope.report.limits import PROCESS_LIMIT, PROCESS_LIMIT_IS, RUN_LIMIT, RUN_LIMIT_IS
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.minibatch_order import order_of_the_process
from landscope.study.saved import Saved
from landscope.study.stages.controls import ROWS as CONTROL_ROWS
from landscope.study.stages.dynamics import ROWS as DYNAMICS_ROWS
from landscope.study.text_table import TextTable
from landscope.surrogates.definitions import Definition
from landscope.surrogates.registry import null_definitions

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
class ExponentTable(TextTable, Mapping[str, Exponents]):
    """Exponents of a study, one row for each set of directions and window; a mapping of the names to the rows.

    Several rows may have one name, as the draws of a null do: the mapping gives the first, ``rows`` has all.

    Args:
        rows: All rows; the first is the window along its own modes.
        remarks: Sentences on both psi_infinity, and on rows of the law that were not measured.
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
        raise KeyError(f"no row {name!r}; the rows are {', '.join(self)}")

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(row.name for row in self.rows))

    def __len__(self) -> int:
        return len(set(self))

    def cells(self) -> list[list[str]]:
        """Names and numbers as text."""
        return [
            [row.name, *(with_interval(getattr(row, key), getattr(row, f"{key}_interval")) for key in EXPONENTS),
             str(row.n_used)]
            for row in self.rows
        ]  # fmt: skip

    def notes(self) -> list[str]:
        """Why a row has no exponents or no intervals, what the nulls are, psi_infinity, and which rows are missing."""
        empty = [_why_empty(row) for row in self.rows if math.isnan(row.psi)]
        nulls = [f"{name}: {definition}" for name, definition in self.definitions.items()]
        return [*empty, *filter(None, [self.without_interval]), *nulls, *self.remarks]

    @property
    def definitions(self) -> dict[str, Definition]:
        """What each null and control of the table keeps, what it destroys, and what agreement would mean."""
        known = null_definitions()
        return {row.name: known[row.name] for row in self.rows if row.name in known}

    @property
    def without_interval(self) -> str:
        """Which exponents have no interval, and why; empty where all have one."""
        fitted = [row for row in self.rows if not math.isnan(row.psi)]
        rows = {key: sum(math.isnan(getattr(row, f"{key}_interval")[0]) for row in fitted) for key in EXPONENTS}
        if not any(row.interval_reason for row in fitted):
            return ""
        counted = ", ".join(f"{key} in {count}" for key, count in rows.items() if count)
        return (
            f"Rows without an interval, of {len(fitted)} rows: {counted}. In these rows the weights relax too "
            "slowly for blocks of time, or the directions were chosen by their variance in the same window "
            "(study.law[NAME].interval_reason says which). More seeds give an interval."
        )


def exponent_table(analysis: Analysis) -> ExponentTable:
    """The table of a study, with the reason where it has no fresh data."""
    reason = "" if analysis.has(saved.FRESH) else analysis.folder.read_note("not-measured").get(saved.FRESH.name, "")
    missing = (f"{FRESH}: not measured: {reason}",) if reason else ()
    return ExponentTable(tuple(exponent_rows(analysis)), (*_without_end(analysis), *missing))


def _without_end(analysis: Analysis) -> tuple[str, ...]:
    """The exponents of a window without end, each with what it is; or why one was not measured."""
    reasons, lines = analysis.folder.read_note("not-measured"), []
    process, run = analysis.load_if_there(saved.WINDOW_LIMIT), analysis.load_if_there(saved.RUN_LIMIT)
    if process is not None:
        value, order = process.psi_infinity_in_words, order_of_the_process(process, analysis)
        lines.append(f"{PROCESS_LIMIT} = {value} along {process.name}, with {order}. {PROCESS_LIMIT_IS}")
    elif reason := reasons.get(saved.WINDOW_LIMIT.name):
        lines.append(f"{PROCESS_LIMIT}: not measured: {reason}")
    if run is not None and run.is_identified:
        value = with_interval(run.psi_infinity, run.psi_infinity_interval)
        lines.append(f"{RUN_LIMIT} = {value}. {RUN_LIMIT_IS}")
    elif run is not None:
        lines.append(f"{RUN_LIMIT}: not measured: {run.reason}")
    return tuple(lines)


def _why_empty(row: Exponents) -> str:
    first, last = row.mode_range
    return (
        f"{row.name}: no exponents, as a fit needs three directions; of {first} to {last}, {row.n_still} did not move "
        f"and {row.n_censored} have no flatness within reach"
    )
