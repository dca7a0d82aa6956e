"""A figure of the paper over several seeds and settings, each a run of its own, pooled into one table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from landscope.claims.fig2 import NULL_NAME, few_modes_control
from landscope.claims.statements import CLAIMS
from landscope.claims.verdict import Control, Judgement, Measurement, judge
from landscope.errors import InputError
from landscope.law.exponents import Exponents
from landscope.law.intervals import prediction_band, seed_interval
from landscope.law.inverse_relation import SHUFFLED
from landscope.progress import Reporter
from landscope.reproduction.experiment.run import ExperimentRun
from landscope.reproduction.experiment.settings import Settings
from landscope.storage.atomic import write_json, write_text
from landscope.study.exponents import EXPONENTS
from landscope.study.stages.controls import ROWS

__all__ = [
    "COLUMNS",
    "FIGURES",
    "PAIRS",
    "Pooled",
    "as_dict",
    "exponent_rows",
    "judgements_on",
    "measured_cell",
    "pool",
    "reproduce",
    "table",
    "table_rows",
]

PAIRS = ((50, 0.1), (100, 0.1), (50, 0.2))
"""Batch size B and learning rate alpha of the runs; the paper's own pair first."""

FIGURES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "fig1": ("law", ("gamma", "modes_for_90_percent", "drift_share", "alignment", "diffusion_share")),
    "fig2": ("law", ("inverse_gaussian", "flatness_rises", "psi")),
    "fig3": (
        "controls",
        (
            "psi", "psi_D", "psi_tau", "minibatch_springs", "spring_flatness", "spring_noise", "mean_field",
            "tau_counts_minibatches", "psi_hessian", "inverse_einstein", "stationary", "tau_by_sampling",
            "flat_modes_stationary",
        ),
    ),
    "fig5": ("noise", ("temperature_profile", "temperature_by_flatness", "cooling", "frozen")),
    "sec-S2": ("noise", ("logarithmic_drift", "margin", "persistence", "short_memory", "drift_share", "alignment")),
    "sec-S3": ("noise", ("flatness_and_hessian", "noise_by_curvature")),
    "fig-S7": ("noise", ("stiffness_exponent", "centre_exponent", "mean_field")),
}  # fmt: skip
"""Figures that can be reproduced: the last stage each of them needs, and the claims it is about."""


@dataclasses.dataclass(frozen=True)
class Pooled:
    """Numbers of one (B, alpha) over seeds.

    Args:
        batch_size: B.
        learning_rate: alpha.
        seeds: Seeds run.
        rows: Row of the table of exponents -> exponent -> its value in each run (each surrogate, for the null).
        values: Claim -> what was measured in each run.
        judgements: The claims, judged on means over seeds.
        folders: The runs.
    """

    batch_size: int
    learning_rate: float
    seeds: tuple[int, ...]
    rows: Mapping[str, Mapping[str, list[float]]]
    values: Mapping[str, list[float]]
    judgements: list[Judgement]
    folders: tuple[Path, ...]


def reproduce(
    folder: str | Path,
    settings: Settings,
    *,
    seeds: int,
    pairs: Sequence[tuple[int, float]],
    reporter: Reporter,
    figure: str = "fig2",
) -> list[Pooled]:
    """Run every pair and seed (finished runs are kept), and write ``table.md`` and ``table.json``.

    Args:
        folder: Where the runs go.
        settings: Settings that all runs share; batch size, learning rate and seed are set here.
        seeds: Number of seeds, from 0.
        pairs: Batch sizes and learning rates.
        reporter: Told of progress.
        figure: Which figure: it says how far every run goes, and which claims the table shows; ``table.json`` has all.

    Returns:
        The pooled numbers, one entry a pair.

    Raises:
        InputError: If fewer than two seeds are asked for: an interval needs two.
    """
    if seeds < 2:
        raise InputError(
            expected="at least 2 seeds, for an interval over them", got=f"{seeds}", hint="Pass --seeds 5, say."
        )
    folder = Path(folder)
    pooled = []
    for batch_size, learning_rate in pairs:
        runs = []
        for seed in range(seeds):
            changed = {"batch_size": batch_size, "learning_rate": learning_rate, "seed": seed}
            name = f"B{batch_size}-alpha{learning_rate:g}-seed{seed}"
            run = ExperimentRun.create(folder / name, Settings.of({**settings.model_dump(), **changed}))
            reporter.note(f"[bold]{name}[/bold]")
            run.analyse(reporter, until=FIGURES[figure][0])
            runs.append(run)
        pooled.append(pool(batch_size, learning_rate, runs))
    write_json(folder / "table.json", [as_dict(entry) for entry in pooled])
    write_text(folder / "table.md", _markdown(pooled, settings, figure))
    return pooled


def pool(batch_size: int, learning_rate: float, runs: Sequence[ExperimentRun]) -> Pooled:
    """Numbers of runs that differ in their seed only."""
    rows = _rows(runs)
    measured = [run.results.measurements for run in runs]
    shared = [key for key in measured[0] if all(key in other for other in measured)]
    dim = runs[0].results.summary()["weights"]
    over_seeds = {key: _over_seeds(key, [other[key] for other in measured], rows, runs, dim) for key in shared}
    return Pooled(
        batch_size,
        learning_rate,
        tuple(run.settings.seed for run in runs),
        rows,
        {key: [other[key].value for other in measured] for key in shared},
        [judge(claim, over_seeds[claim.key]) for claim in CLAIMS if claim.key in over_seeds],
        tuple(run.path for run in runs),
    )


def _rows(runs: Sequence[ExperimentRun]) -> dict[str, dict[str, list[float]]]:
    """The table of exponents: every row that all runs have."""
    artefacts = ["exponents-in-sample", "exponents-fresh"]
    shuffled = [f"exponents-shuffled-{number}" for number in range(runs[0].settings.n_nulls)]
    others = [f"exponents-{key}" for key in ROWS]
    rows: dict[str, dict[str, list[float]]] = {}
    for artefact in (*artefacts, *shuffled, *others):
        if not all(run.has(artefact) for run in runs):
            continue
        for found in (run.load(artefact, Exponents) for run in runs):
            row = rows.setdefault(found.name, {key: [] for key in EXPONENTS})
            for key in EXPONENTS:
                row[key].append(float(getattr(found, key)))
    return rows


def _over_seeds(
    key: str, single: Sequence[Measurement], rows: Mapping[str, Any], runs: Sequence[ExperimentRun], dim: int
) -> Measurement:
    """Mean with Student's interval; each control with the hull of its bands, the null with that of all surrogates."""
    values = [measurement.value for measurement in single]
    named: dict[str, list[Control]] = {}
    for control in (control for measurement in single for control in measurement.controls):
        named.setdefault(control.name, []).append(control)
    controls = [_pooled_control(key, same, rows, runs, dim) for same in named.values()]
    notes = {measurement.note for measurement in single}
    return Measurement(_mean(values), seed_interval(values), tuple(controls), notes.pop() if len(notes) == 1 else "")


def _pooled_control(
    key: str, same: Sequence[Control], rows: Mapping[str, Any], runs: Sequence[ExperimentRun], dim: int
) -> Control:
    """One control of all runs.

    The null: a band of all surrogates. What must agree: an interval of the mean over seeds, so that more seeds say
    more. What must differ: the hull of all bands.
    """
    first = same[0]
    if first.name == NULL_NAME and key == "modes_for_90_percent":
        return few_modes_control(
            [float(n) for run in runs for n in run.results.summary()["modes_for_90_percent_null"]], dim
        )
    if first.name == NULL_NAME:
        # What one run says of its few surrogates says nothing of those of all runs.
        return dataclasses.replace(first, band=prediction_band(rows.get(SHUFFLED, {}).get(key, [])), finding="")
    bands = [control.band for control in same if not any(math.isnan(edge) for edge in control.band)]
    finding = first.finding if len({control.finding for control in same}) == 1 else ""
    if not bands:
        band = (math.nan, math.nan)
    elif first.must == "agree" and len(bands) > 1:
        band = seed_interval([(low + high) / 2 for low, high in bands])
    else:
        band = (min(low for low, _ in bands), max(high for _, high in bands))
    return Control(first.name, band, first.must, finding)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def as_dict(entry: Pooled) -> dict[str, Any]:
    """Plain values, for JSON."""
    return {
        "batch_size": entry.batch_size,
        "learning_rate": entry.learning_rate,
        "seeds": list(entry.seeds),
        "values": dict(entry.values),
        "intervals": {name: seed_interval(values) for name, values in entry.values.items()},
        "exponents": {name: dict(row) for name, row in entry.rows.items()},
        "claims": [{"key": j.claim.key, "verdict": j.verdict, "sentence": j.sentence} for j in entry.judgements],
    }


COLUMNS = ("B", "alpha", "seeds", "row", "psi", "psi_D", "psi_tau", "gamma")
"""Headings of the table of exponents."""


def table_rows(pooled: Sequence[Pooled]) -> list[list[str]]:
    """The table of exponents of all settings."""
    return [row for entry in pooled for row in exponent_rows(entry)]


def exponent_rows(entry: Pooled) -> list[list[str]]:
    """The table of exponents of one (B, alpha): one row for each set of directions and window."""
    head = [f"{entry.batch_size}", f"{entry.learning_rate:g}", f"{len(entry.seeds)}"]
    return [[*head, name, *(_cell(row[key]) for key in EXPONENTS)] for name, row in entry.rows.items()]


def judgements_on(entry: Pooled, figure: str) -> list[Judgement]:
    """The judgements on the claims of one figure."""
    return [judgement for judgement in entry.judgements if judgement.claim.key in FIGURES[figure][1]]


def _cell(values: Sequence[float]) -> str:
    finite = [value for value in values if not math.isnan(value)]
    low, high = seed_interval(finite)
    return f"{_mean(finite):.2f} [{low:.2f}, {high:.2f}]" if len(finite) > 1 else "–"


def _markdown(pooled: Sequence[Pooled], settings: Settings, figure: str) -> str:
    about = (
        f"Data {settings.data}, principal modes {settings.fit_modes[0]} to {settings.fit_modes[1]}. Mean over seeds "
        "with Student's 95 % interval; the null pools the surrogates of all seeds."
    )
    claims = [
        [
            f"{entry.batch_size}", f"{entry.learning_rate:g}", j.claim.source, j.claim.statement, j.claim.quoted,
            measured_cell(j.measurement), j.verdict,
        ]
        for entry in pooled
        for j in judgements_on(entry, figure)
    ]  # fmt: skip
    headings = ("B", "alpha", "source", "claim", "paper", "measured", "verdict")
    return f"{table(COLUMNS, table_rows(pooled))}\n\n{about}\n\n{table(headings, claims)}\n"


def measured_cell(measurement: Measurement) -> str:
    """A value with its interval, for a table."""
    low, high = measurement.interval
    return f"{measurement.value:.3g}" + ("" if math.isnan(low) else f" [{low:.3g}, {high:.3g}]")


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [headings, ("---",) * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
