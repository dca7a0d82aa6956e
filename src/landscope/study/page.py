"""The page of a study: self-contained, works offline, needs no model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import yaml

from landscope import plots
from landscope.law.intervals import with_interval
from landscope.report import CAPTIONS, WIDE, render
from landscope.storage import write_text
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.claims import judgements_of
from landscope.study.exponents import EXPONENTS, exponent_rows
from landscope.study.figures import figures_of
from landscope.study.summary import summary_of

__all__ = ["write_page"]


def write_page(analysis: Analysis, title: str, facts: list[tuple[str, str]], settings: str | None = None) -> Path:
    """Write ``report.html`` into the study's folder.

    Args:
        analysis: The analysis, with the stages modes, flatness and law done.
        title: Title of the page.
        facts: Further lines of the table "What was trained".
        settings: Text of the settings; those of the study by default.

    Returns:
        Path of the page.

    Raises:
        StorageError: If a stage is missing or a result is damaged.
    """
    summary = summary_of(analysis)
    stages = list(analysis.folder.timings())
    page = render(
        "report.html.j2",
        title=title,
        summary=summary,
        lead=_lead(summary),
        judgements=judgements_of(analysis),
        exponents=_exponents(analysis),
        sensitivity=_sensitivity(analysis),
        facts=[*facts, *_facts(summary, analysis.folder.timings())],
        captions=CAPTIONS,
        wide=WIDE,
        figures={key: plots.as_html(figure, key) for key, figure in figures_of(analysis).items()},
        not_measured=_not_measured(analysis),
        stages=stages,
        settings_yaml=settings or yaml.safe_dump(summary["settings"], sort_keys=False),
        provenance=json.dumps(summary["provenance"], indent=2),
    )
    path = analysis.folder.path / "report.html"
    write_text(path, page)
    return path


def _lead(summary: dict[str, Any]) -> list[str]:
    """What the numbers mean, computed from the numbers."""
    share, few = 100 * summary["first_mode_share"], summary["modes_for_90_percent"]
    sentences = [
        f"Over {summary['window_rows']:,} recorded steps the {summary['weights']:,} weights have {share:.1f} % of "
        f"their variance along one direction; of the rest, 90 % lies in modes 2 to {few}."
    ]
    psi, fresh = summary["psi"], summary["psi_fresh"]
    if psi != psi:
        return [
            *sentences,
            "Too few modes have a measurable flatness: the variance-flatness law could not be fitted. A loss that "
            "cannot rise by a factor of e, like that of a language model, needs a smaller ratio, such as 1.1.",
            *_of_the_recording(summary),
        ]
    direction = "less" if psi > 0 else "more"
    law = f"In this window the weights fluctuate {direction} along flatter directions: ψ = {psi:.2f}"
    law += "." if fresh != fresh else f"; along the same modes in fresh data ψ = {fresh:.2f}."
    return [*sentences, law + _null_sentence(summary), *_caveats(summary)]


def _null_sentence(summary: dict[str, Any]) -> str:
    low, high = summary["psi_null_band"]
    null = [value for value in summary["psi_null"] if value == value]
    if not null:
        return ""
    if low != low:
        return f" The window's own steps in random order, through the same analysis, give {null[0]:.2f}."
    inside = low <= summary["psi"] <= high
    values = ", ".join(f"{value:.2f}" for value in null)
    said = "is what this null gives" if inside else "lies outside this null"
    return (
        f" The window's own steps in random order, through the same analysis, give {values}; one more such order would "
        f"give {low:.2f} to {high:.2f} (95 %). The in-sample exponent {said}."
    )


def _caveats(summary: dict[str, Any]) -> list[str]:
    sentences = ["A finite window can make such a law by itself: read ψ beside its fresh data and its nulls."]
    if summary["fresh"] is None:
        sentences.append("Only one window was analysed: nothing here was checked in fresh data.")
    if summary["exploration_reached"] is False:
        sentences.append(
            "The training error was not zero when the window began, so this is not the paper's exploration phase."
        )
    return [*sentences, *_of_the_recording(summary)]


def _of_the_recording(summary: dict[str, Any]) -> list[str]:
    return [f"{caveat[0].upper()}{caveat[1:]}." for caveat in summary["caveats"]]


def _exponents(analysis: Analysis) -> list[dict[str, str]]:
    """The table of exponents: what was measured, under every control that was run."""
    rows = [
        {
            "name": row.name,
            "n_used": str(row.n_used),
            **{key: with_interval(getattr(row, key), getattr(row, f"{key}_interval")) for key in EXPONENTS},
        }
        for row in exponent_rows(analysis)
    ]
    walk = {"name": "isotropic random walk, N ≫ T (exact)", "psi": "–", "psi_D": "–", "psi_tau": "–", "gamma": "2.00"}
    return [*rows, {**walk, "n_used": "–"}]


def _sensitivity(analysis: Analysis) -> list[list[str]]:
    """In-sample exponents under other choices, where the controls were run."""
    found = analysis.load_if_there(saved.SENSITIVITY)
    if found is None:
        return []
    return [
        [choice, *(f"{value:.2f}" if value == value else "–" for value in row)]
        for choice, row in zip(found.choices, found.exponents.tolist(), strict=True)
    ]


def _not_measured(analysis: Analysis) -> list[tuple[str, list[str]]]:
    """Reasons, each with the results that it keeps from being measured."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in analysis.folder.read_note("not-measured").items():
        if not analysis.folder.has(name):
            by_reason.setdefault(reason, []).append(name)
    return list(by_reason.items())


def _percent(value: float) -> str:
    return "not measured" if math.isnan(value) else f"{100 * value:.2f} %"


def _facts(summary: dict[str, Any], timings: dict[str, float]) -> list[tuple[str, str]]:
    start = {True: "training error zero before it", False: "training error not zero before it", None: ""}
    window, fresh = summary["window"], summary["fresh"]
    reached = start[summary["exploration_reached"]]
    return [
        ("Weights recorded, N", f"{summary['weights']:,} ({', '.join(summary['parameters'][:4])})"),
        ("Optimiser", summary["optimizer"] or "not known"),
        ("Learning rate α", "not known" if math.isnan(summary["learning_rate"]) else f"{summary['learning_rate']:g}"),
        ("Batch size B", str(summary["batch_size"] or "not known")),
        ("Window", f"steps {window[0]:,} to {window[1]:,}" + (f" ({reached})" if reached else "")),
        ("Fresh data", "none" if fresh is None else f"steps {fresh[0]:,} to {fresh[1]:,}"),
        ("Loss at w₀", f"{summary['loss_at_w0']:.3g}"),
        ("Training error at w₀", _percent(summary["train_error_at_w0"])),
        ("Test error at w₀", _percent(summary["test_error_at_w0"])),
        ("cos(p₁, w₀)", f"{summary['alignment']:.2f}"),
        (
            "Cosine content of modes 1 to 4 (1: a random walk)",
            ", ".join(f"{content:.2f}" for content in summary["cosine_content"]),
        ),
        (
            "Seconds of each stage, when last done",
            ", ".join(f"{name} {seconds:.0f}" for name, seconds in timings.items()) or "–",
        ),
    ]
