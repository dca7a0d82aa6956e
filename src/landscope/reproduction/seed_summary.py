"""Runs that differ in their seed only: their exponents, and their claims judged on means over seeds."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from typing import Any

from landscope.claims.correlation_time import median_time_over_window
from landscope.claims.exponents import NULL_NAME, PROCESS_NAME
from landscope.claims.fig1 import few_modes_control
from landscope.claims.one_sided import POSSIBLE, one_sided
from landscope.claims.regimes import last_rank, regime_values
from landscope.claims.statements import judged
from landscope.claims.verdict import Control, Judgement, Measurement
from landscope.law.exponents import Exponents
from landscope.law.intervals import EVERYWHERE, Range, mean_with_interval, prediction_band, seed_interval
from landscope.law.inverse_relation import FRESH, IN_SAMPLE, SHUFFLED
from landscope.reproduction.experiment.run import ExperimentRun
from landscope.reproduction.mean_note import mean_note
from landscope.study import saved
from landscope.study.exponents import EXPONENTS, row_results
from landscope.study.stages.finite_window import PROCESS, PROCESS_FRESH

__all__ = ["COLUMNS", "LAW_ROWS", "SeedSummary", "pooled_control"]

COLUMNS = ("B", "alpha", "seeds", "row", *EXPONENTS)
"""Headings of the table of exponents."""

LAW_ROWS = (IN_SAMPLE, FRESH, PROCESS, PROCESS_FRESH, SHUFFLED)
"""Rows of the table that the stage law makes; the controls add others."""


class SeedSummary:
    """Numbers of runs that differ in their seed only.

    Args:
        runs: At least two runs, as far as the stage law.
    """

    def __init__(self, runs: Sequence[ExperimentRun]) -> None:
        self.runs, self.settings = runs, runs[0].settings
        self.rows: dict[str, dict[str, list[float]]] = self._exponents()
        """Row of the table of exponents -> exponent -> its value in each run, the mean of the run's surrogates."""
        measured = [run.results.measurements for run in runs]
        shared = [key for key in measured[0] if all(key in other for other in measured)]
        single = {key: [other[key] for other in measured] for key in shared}
        self._values = {key: [measurement.value for measurement in same] for key, same in single.items()}
        self._judgements = judged({key: self._over_seeds(key, same) for key, same in single.items()})

    @property
    def name(self) -> str:
        """Batch size and learning rate, for a legend."""
        return f"B = {self.settings.batch_size}, α = {self.settings.learning_rate:g}"

    def judgements_on(self, claims: Sequence[str]) -> list[Judgement]:
        """Judgements on some claims by key, from means over seeds."""
        return [judgement for judgement in self._judgements if judgement.claim.key in claims]

    def exponent_rows(self, names: Sequence[str] | None = None) -> list[list[str]]:
        """The table of exponents, one row for each set of directions and window; all rows by default."""
        head = [f"{self.settings.batch_size}", f"{self.settings.learning_rate:g}", f"{len(self.runs)}"]
        return [
            [*head, name, *(mean_with_interval(row[key]) for key in EXPONENTS)]
            for name, row in self.rows.items()
            if names is None or name in names
        ]

    def numbers(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "batch_size": self.settings.batch_size,
            "learning_rate": self.settings.learning_rate,
            "seeds": [run.settings.seed for run in self.runs],
            "values": self._values,
            "intervals": {name: seed_interval(values) for name, values in self._values.items()},
            "exponents": self.rows,
            "claims": [{"key": j.claim.key, "verdict": j.verdict, "sentence": j.sentence} for j in self._judgements],
        }

    def _exponents(self) -> dict[str, dict[str, list[float]]]:
        """The rows of the table of exponents that all runs have; surrogates of one run are no independent values."""
        named: dict[str, list[list[Exponents]]] = {}
        for result in row_results(self.settings.n_nulls, self.settings.n_processes):
            if all(run.has(result.name) for run in self.runs):
                found = [run.load(result.name, result.kind) for run in self.runs]
                named.setdefault(found[0].name, []).append(found)
        return {
            name: {key: [statistics.fmean(getattr(row, key) for row in of_run) for of_run in zip(*found, strict=True)]
                   for key in EXPONENTS}
            for name, found in named.items()
        }  # fmt: skip

    def _over_seeds(self, key: str, single: Sequence[Measurement]) -> Measurement:
        """The mean with Student's interval, and the controls of all runs."""
        named: dict[str, list[Control]] = {}
        for control in (control for measurement in single for control in measurement.controls):
            named.setdefault(control.name, []).append(control)
        rows = {NULL_NAME: SHUFFLED, PROCESS_NAME: PROCESS}
        draws = {name: self._draws(row, key) for name, row in rows.items()}
        possible = POSSIBLE.get(key, EVERYWHERE)
        pooled = {name: pooled_control(same, draws.get(name), possible) for name, same in named.items()}
        controls = {name: one_sided(key, control) if name in rows else control for name, control in pooled.items()}
        note = _note_of_all(single)
        mean = Measurement.over_seeds([measurement.value for measurement in single], note=note)
        values = {measurement.value for measurement in single}
        if len(single) > 1 and len(values) == 1 and not math.isnan(mean.value):
            # A coarse count can be the same by chance: no spread is seen, and none is known.
            mean = dataclasses.replace(mean, interval=(math.nan, math.nan), no_interval="all seeds give the same value")
        if key == "modes_for_90_percent":
            modes = self.runs[0].load(saved.SPECTRUM.name, saved.SPECTRUM.kind).n_modes
            for name, row in rows.items():
                controls[name] = few_modes_control(mean.value * modes, self._drawn_rows(row), modes, name)
        return dataclasses.replace(mean, controls=tuple(controls.values()))

    def _drawn_rows(self, row: str) -> list[Exponents]:
        """The rows of all runs under a null that was drawn."""
        return [found for run in self.runs for found in self._drawn_in(run, row)]

    def _drawn_in(self, run: ExperimentRun, row: str) -> list[Exponents]:
        settings = self.settings
        count, result = (settings.n_processes, saved.process) if row == PROCESS else (settings.n_nulls, saved.null)
        names = [result(number) for number in range(count)]
        return [run.load(each.name, each.kind) for each in names if run.has(each.name)]

    def _draws(self, row: str, key: str) -> list[float] | None:
        """The value of a claim in each run under a null that was drawn, the mean of the run's draws; None if unknown.

        Where it is not known here, the bands of the runs count.
        """
        if key in EXPONENTS:
            return self.rows.get(row, {}).get(key, [])
        if key not in _VALUED:
            return None
        found = [[_drawn_value(key, run, each) for each in self._drawn_in(run, row)] for run in self.runs]
        return [statistics.fmean(values) for values in found if values]


_VALUED = ("first_mode", "plateau", "faster_decay", "short_correlation_time", "flatness_rises")
"""Claims whose value follows from a row of exponents alone."""


def _note_of_all(single: Sequence[Measurement]) -> str:
    """The note of all seeds with its numbers as means over them, or why some seeds have no value."""
    missing = [measurement.note for measurement in single if math.isnan(measurement.value)]
    note = mean_note([measurement.note for measurement in single])
    if note or not missing:
        return note
    return f"not measured for {len(missing)} of {len(single)} seeds: {missing[0]}"


def _drawn_value(key: str, run: ExperimentRun, row: Exponents) -> float:
    """The value of a claim in a row of exponents of a run."""
    settings = run.settings
    if key == "flatness_rises":
        return row.rank_correlation
    if key == "short_correlation_time":
        n_rows = run.load(saved.STATISTICS.name, saved.STATISTICS.kind).n_steps
        return median_time_over_window(row, n_rows, settings.fit_modes)
    ranks = run.load(saved.SPECTRUM.name, saved.SPECTRUM.kind).spectrum_ranks
    return regime_values(row, ranks, last_rank(ranks, settings.fit_modes[1]))[key]


def pooled_control(
    same: Sequence[Control], draws: Sequence[float] | None = None, possible: Range = EVERYWHERE
) -> Control:
    """One control of all runs.

    A null that was drawn has the band of its draws, one a run: the mean of the surrogates of the run. A control that
    must agree has an interval of the mean over seeds, which more seeds make narrower. A control that must differ has
    the hull of all bands. What one run does not identify, all together do not.

    Args:
        same: The control of each run.
        draws: Value of each run under a null that was drawn; None for other controls.
        possible: Smallest and largest possible value of the claim.
    """
    first = same[0]
    if draws is not None:
        # The few draws of one run have a finding of their own, which says nothing of those of all runs.
        return dataclasses.replace(first, band=prediction_band(draws, possible=possible), finding="")
    bands = [control.band for control in same if not any(math.isnan(edge) for edge in control.band)]
    finding = first.finding if len({control.finding for control in same}) == 1 else ""
    if not bands:
        band = (math.nan, math.nan)
    elif first.must == "agree" and len(bands) > 1:
        band = seed_interval([(low + high) / 2 for low, high in bands])
    else:
        band = (min(low for low, _ in bands), max(high for _, high in bands))
    unidentified = next((control.unidentified for control in same if control.unidentified), "")
    return dataclasses.replace(first, band=band, finding=finding, unidentified=unidentified)
