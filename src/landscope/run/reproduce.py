"""A figure of the paper over several seeds and settings, each a run of its own, pooled into one table."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from landscope.errors import InputError
from landscope.law import prediction_band, seed_interval
from landscope.paper.claims import Control, Judgement, Measurement, judge_all
from landscope.paper.variance_flatness import few_modes_control
from landscope.run.folder import RunFolder
from landscope.run.pipeline import run_stages
from landscope.run.progress import Reporter
from landscope.settings import Settings
from landscope.storage import write_json, write_text

__all__ = ["COLUMNS", "PAIRS", "Pooled", "reproduce", "table_rows"]

PAIRS = ((50, 0.1), (100, 0.1), (50, 0.2))
"""Batch size B and learning rate alpha of the runs; the paper's own pair first."""

_QUANTITIES = (
    "gamma",
    "gamma_cross",
    "psi",
    "psi_cross",
    "modes_for_90_percent",
    "alignment",
    "drift_share",
    "rank_correlation",
    "inverse_gaussian_residual_ratio",
)


@dataclasses.dataclass(frozen=True)
class Pooled:
    """Numbers of one (B, alpha) over seeds.

    Args:
        batch_size: B.
        learning_rate: alpha.
        seeds: Seeds run.
        values: Quantity -> its value in each run.
        null: ``psi`` and ``gamma`` -> values of all surrogates of all runs.
        judgements: The claims, judged on means over seeds.
        folders: The runs.
    """

    batch_size: int
    learning_rate: float
    seeds: tuple[int, ...]
    values: Mapping[str, list[float]]
    null: Mapping[str, list[float]]
    judgements: list[Judgement]
    folders: tuple[Path, ...]


def reproduce(
    folder: str | Path,
    settings: Settings,
    *,
    seeds: int,
    pairs: Sequence[tuple[int, float]],
    reporter: Reporter,
) -> list[Pooled]:
    """Run every pair and seed (finished runs are kept), and write ``table.md`` and ``table.json``.

    Args:
        folder: Where the runs go.
        settings: Settings that all runs share; batch size, learning rate and seed are set here.
        seeds: Number of seeds, from 0.
        pairs: Batch sizes and learning rates.
        reporter: Told of progress.

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
            run = RunFolder.create(folder / name, Settings.of({**settings.model_dump(), **changed}))
            reporter.note(f"[bold]{name}[/bold]")
            run_stages(run, reporter)
            runs.append(run)
        pooled.append(_pool(batch_size, learning_rate, runs))
    write_json(folder / "table.json", [_as_dict(entry) for entry in pooled])
    write_text(folder / "table.md", _table(pooled, settings))
    return pooled


def _pool(batch_size: int, learning_rate: float, runs: Sequence[RunFolder]) -> Pooled:
    summaries = [run.summary() for run in runs]
    values = {name: [_value(summary[name]) for summary in summaries] for name in _QUANTITIES}
    null = {
        name: [_value(x) for summary in summaries for x in summary[f"{name}_null"] if x is not None]
        for name in ("psi", "gamma", "modes_for_90_percent")
    }
    dim = summaries[0]["weights"]
    reached = all(summary["exploration_reached"] for summary in summaries)
    return Pooled(
        batch_size,
        learning_rate,
        tuple(summary["settings"]["seed"] for summary in summaries),
        values,
        null,
        judge_all(_measurements(values, null, runs, dim, reached=reached)),
        tuple(run.path for run in runs),
    )


def _value(number: float | None) -> float:
    return math.nan if number is None else float(number)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _measurements(
    values: Mapping[str, list[float]],
    null: Mapping[str, list[float]],
    runs: Sequence[RunFolder],
    dim: int,
    *,
    reached: bool,
) -> dict[str, Measurement]:
    """The claims' measurements over seeds: means, Student's intervals, and the same controls as for one run."""
    note = "" if reached else "in some runs the training error was not zero when the window began"
    single = {
        item["claim"]["key"]: item["measurement"] for item in json.loads((runs[0].path / "claims.json").read_text())
    }

    def over_seeds(name: str, *controls: Control) -> Measurement:
        return Measurement(_mean(values[name]), seed_interval(values[name]), controls, note)

    def fixed(key: str) -> tuple[Control, ...]:
        return tuple(Control(c["name"], tuple(c["band"]), c["must"], c["finding"]) for c in single[key]["controls"])

    diffusion = [
        item["measurement"]["value"]
        for run in runs
        for item in json.loads((run.path / "claims.json").read_text())
        if item["claim"]["key"] == "diffusion_share"
    ]
    return {
        "gamma": over_seeds(
            "gamma",
            Control("the shuffled-increment null", prediction_band(null["gamma"]), "differ"),
            Control("the same modes in the next window", seed_interval(values["gamma_cross"]), "agree"),
        ),
        "modes_for_90_percent": over_seeds(
            "modes_for_90_percent", few_modes_control(null["modes_for_90_percent"], dim)
        ),
        "drift_share": over_seeds("drift_share", *fixed("drift_share")),
        "alignment": over_seeds("alignment", *fixed("alignment")),
        "diffusion_share": Measurement(_mean(diffusion), seed_interval(diffusion), note=note),
        "inverse_gaussian": over_seeds("inverse_gaussian_residual_ratio"),
        "flatness_rises": over_seeds("rank_correlation"),
        "psi": over_seeds(
            "psi",
            Control("the shuffled-increment null", prediction_band(null["psi"]), "differ"),
            Control("the same modes in the next window", seed_interval(values["psi_cross"]), "agree"),
        ),
    }


def _as_dict(entry: Pooled) -> dict[str, Any]:
    return {
        "batch_size": entry.batch_size,
        "learning_rate": entry.learning_rate,
        "seeds": list(entry.seeds),
        "values": dict(entry.values),
        "intervals": {name: seed_interval(values) for name, values in entry.values.items()},
        "null": dict(entry.null),
        "claims": [{"key": j.claim.key, "verdict": j.verdict, "sentence": j.sentence} for j in entry.judgements],
    }


COLUMNS = (
    "B",
    "alpha",
    "seeds",
    "psi in-sample",
    "psi next window",
    "psi shuffled increments",
    "gamma in-sample",
    "gamma next window",
    "gamma shuffled increments",
    "modes for 90 %",
    "psi: verdict",
)
"""Headings of the table of a reproduction."""


def table_rows(pooled: Sequence[Pooled]) -> list[list[str]]:
    """The table, one row a (B, alpha)."""
    return [
        [
            f"{entry.batch_size}",
            f"{entry.learning_rate:g}",
            f"{len(entry.seeds)}",
            _cell(entry.values["psi"]),
            _cell(entry.values["psi_cross"]),
            _cell(entry.null["psi"]),
            _cell(entry.values["gamma"]),
            _cell(entry.values["gamma_cross"]),
            _cell(entry.null["gamma"]),
            _cell(entry.values["modes_for_90_percent"]),
            next(judgement.verdict for judgement in entry.judgements if judgement.claim.key == "psi"),
        ]
        for entry in pooled
    ]


def _cell(values: Sequence[float]) -> str:
    low, high = seed_interval(list(values))
    return f"{_mean(values):.2f} [{low:.2f}, {high:.2f}]" if values else "-"


def _table(pooled: Sequence[Pooled], settings: Settings) -> str:
    lines = [COLUMNS, ("---",) * len(COLUMNS), *table_rows(pooled)]
    about = (
        f"Data {settings.data}, modes {settings.law_modes[0]} to {settings.law_modes[1]}. Mean over seeds with "
        "Student's 95 % interval; the null pools the surrogates of all seeds."
    )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{about}\n"
