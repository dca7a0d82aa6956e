"""The page of one run: self-contained, opens offline and asks the network for nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from landscope import plots
from landscope.errors import StorageError
from landscope.law.sensitivity import Sensitivity
from landscope.report.captions import CAPTIONS, WIDE
from landscope.report.figures import exponent_rows, figures_of
from landscope.report.render import render
from landscope.storage.atomic import write_text
from landscope.study.analyse import EXPONENTS, SUMMARY_NAMES
from landscope.study.folder import RunFolder
from landscope.study.measured import judgements_of
from landscope.study.pipeline import STAGES

__all__ = ["write_report"]


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def write_report(run: RunFolder) -> Path:
    """Write ``report.html`` of a finished run.

    Returns:
        Its path.

    Raises:
        StorageError: If a stage is missing or an artefact is damaged.
    """
    summary = _whole_summary(run)
    page = render(
        "report.html.j2",
        title=f"landscope: {summary['settings']['data']}",
        summary=summary,
        lead=_lead(summary),
        judgements=judgements_of(run),
        exponents=_exponents(run),
        sensitivity=_sensitivity(run),
        facts=_facts(summary, run.timings()),
        captions=CAPTIONS,
        wide=WIDE,
        figures={name: plots.as_html(figure, name) for name, figure in figures_of(run).items()},
        stages=[stage.name for stage in STAGES if run.has(stage.artefact)],
        settings_yaml=run.settings.to_yaml(),
        provenance=json.dumps({**summary["provenance"], "threads": summary["threads"]}, indent=2),
    )
    path = run.path / "report.html"
    write_text(path, page)
    return path


def _whole_summary(run: RunFolder) -> dict[str, Any]:
    summary = run.summary()
    missing = [name for name in SUMMARY_NAMES if name not in summary]
    if missing:
        raise StorageError(
            expected=f"the numbers of a finished run in {run.path / 'summary.json'}",
            got=f"none of {', '.join(missing[:4])}",
            hint="It is of another version: delete law.zarr.zip there and give landscope law RUN.",
        )
    return summary


def _lead(summary: dict[str, Any]) -> list[str]:
    """What the numbers mean, said from the numbers."""
    share, few = 100 * summary["first_mode_share"], summary["modes_for_90_percent"]
    sentences = [
        f"Over {summary['window_steps']:,} steps the {summary['weights']:,} weights went {share:.1f} % of their "
        f"squared way along one direction; of the rest, 90 % lies in modes 2 to {few}."
    ]
    if summary["psi"] is None:
        return [
            *sentences,
            "Too few modes have a flatness within reach: the variance-flatness law could not be fitted.",
        ]
    direction = "flatter directions wander less" if summary["psi"] > 0 else "flatter directions wander more"
    law = f"In this window {direction}: the variance goes as F to the power −ψ with ψ = {summary['psi']:.2f}"
    law += f", and ψ = {summary['psi_cross']:.2f} when the same modes are measured on the next window."
    low, high = (_number(value) for value in summary["psi_null_band"])
    null = [value for value in summary["psi_null"] if value is not None]
    if len(null) == 1:
        law += f" The window's own steps in random order, sent through the same analysis, give {null[0]:.2f}."
    if not math.isnan(low):
        inside = low <= summary["psi"] <= high
        law += (
            f" The window's own steps in random order, sent through the same analysis, give {low:.2f} to {high:.2f}: "
            + (
                "the in-sample exponent is what this null makes."
                if inside
                else "the in-sample exponent lies outside what this null makes."
            )
        )
    sentences.append(law)
    if "mnist" not in summary["settings"]["data"].lower() or summary["settings"]["network"] != "mlp":
        sentences.append(
            "This is not the paper's setting (a perceptron on MNIST): its numbers stand here for comparison only."
        )
    if not summary["exploration_reached"]:
        sentences.append(
            "The training error was not zero when the window began, so this is not the paper's exploration phase."
        )
    return sentences


def _spread(value: float, interval: Sequence[float]) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.2f}" + ("" if math.isnan(interval[0]) else f" [{interval[0]:.2f}, {interval[1]:.2f}]")


def _exponents(run: RunFolder) -> list[dict[str, str]]:
    """The table of exponents: what was measured, under every control that was run."""
    rows = [
        {
            "name": found.name,
            "n_used": str(found.n_used),
            **{key: _spread(getattr(found, key), getattr(found, f"{key}_interval")) for key in EXPONENTS},
        }
        for found in exponent_rows(run)
    ]
    walk = {"name": "isotropic random walk, N ≫ T (exact)", "psi": "–", "psi_D": "–", "psi_tau": "–", "gamma": "2.00"}
    return [*rows, {**walk, "n_used": "–"}]


def _sensitivity(run: RunFolder) -> list[list[str]]:
    """In-sample exponents under other choices, where the controls were run."""
    if not run.has("sensitivity"):
        return []
    found = run.load("sensitivity", Sensitivity)
    return [
        [choice, *(f"{value:.2f}" if value == value else "–" for value in row)]
        for choice, row in zip(found.choices, found.exponents.tolist(), strict=True)
    ]


def _facts(summary: dict[str, Any], timings: dict[str, float]) -> list[tuple[str, str]]:
    settings = summary["settings"]
    start = "zero training error" if summary["exploration_reached"] else "training error not zero"
    return [
        ("Data", settings["data"]),
        (
            "Network",
            settings["network"] + (f" {list(settings['hidden'])}" if settings["network"] == "mlp" else ""),
        ),
        ("Weights recorded, N", f"{summary['weights']:,}"),
        ("Batch size B, learning rate α", f"{settings['batch_size']}, {settings['learning_rate']:g}"),
        ("Sampling, momentum, seed", f"{settings['sampling']}, {settings['momentum']:g}, {settings['seed']}"),
        ("Window begins after epoch", f"{summary['start_epoch']} ({start})"),
        ("Window", f"{summary['window_epochs']} epochs, {summary['window_steps']:,} steps"),
        ("Loss at w₀", f"{summary['loss_at_w0']:.3g}"),
        (
            "Training, test error at w₀",
            f"{100 * summary['train_error_at_w0']:.2f} %, {100 * summary['test_error_at_w0']:.2f} %",
        ),
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
