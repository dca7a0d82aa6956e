"""The self-contained pages: one of a run, one of a reproduction; they open offline and ask the network for nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from plotly.offline import get_plotlyjs

from landscope import plots
from landscope.errors import StorageError
from landscope.landscape import Flatness
from landscope.paper.claims import Control, Judgement, Measurement, judge_all
from landscope.paper.spectrum import Spectrum
from landscope.paper.variance_flatness import Laws, SurrogateLaw
from landscope.run import RunFolder
from landscope.run.analyse import SUMMARY_NAMES, load_profiles
from landscope.run.reproduce import COLUMNS, Pooled, table_rows
from landscope.run.train import TrainingHistory
from landscope.storage import write_text

__all__ = ["judgements_of", "write_report", "write_reproduction_report"]


def _render(template: str, **values: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("landscope"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template(template).render(plotly_js=get_plotlyjs(), **values)


def judgements_of(run: RunFolder) -> list[Judgement]:
    """The claims of a run, judged again from its saved measurements: no verdict is read from a file.

    Raises:
        StorageError: If the law stage has not been done, or its file is damaged.
    """
    path = run.path / "claims.json"
    try:
        items = json.loads(path.read_text(encoding="utf-8"))
        measured = {item["claim"]["key"]: _measurement(item["measurement"]) for item in items}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(
            expected=f"the claims of a finished run at {path}",
            got=type(error).__name__,
            hint="Delete laws.zarr.zip in the folder, if it is there, and give landscope law RUN.",
        ) from error
    return judge_all(measured)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _measurement(item: dict[str, Any]) -> Measurement:
    low, high = (_number(value) for value in item["interval"])
    controls = [
        Control(
            control["name"],
            (_number(control["band"][0]), _number(control["band"][1])),
            control["must"],
            control["finding"],
        )
        for control in item["controls"]
    ]
    return Measurement(_number(item["value"]), (low, high), tuple(controls), item["note"])


def write_report(run: RunFolder) -> Path:
    """Write ``report.html`` of a finished run.

    Returns:
        Its path.

    Raises:
        StorageError: If a stage is missing or an artefact is damaged.
    """
    summary = _whole_summary(run)
    page = _render(
        "report.html.j2",
        title=f"landscope: {summary['settings']['data']}",
        summary=summary,
        lead=_lead(summary),
        judgements=judgements_of(run),
        exponents=_exponents(summary),
        facts=_facts(summary, run.timings()),
        figures={name: plots.as_html(figure, name) for name, figure in _figures(run).items() if figure is not None},
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
            hint="Delete laws.zarr.zip in that folder and give landscope law RUN: the file is of another version.",
        )
    return summary


def _figures(run: RunFolder) -> dict[str, Any]:
    found, widths = run.load("spectrum", Spectrum), run.load("flatness", Flatness)
    surrogates = [run.load(f"surrogate-{number}", SurrogateLaw) for number in range(run.settings.surrogates)]
    drawn, fits, ranks = load_profiles(run)
    return {
        "training": plots.training_curves(run.load("training", TrainingHistory)),
        "fig1a": plots.variance_spectrum(found, surrogates),
        "fig1b": plots.accumulated_variance(found, surrogates),
        "fig1c": plots.motion(found, 1, 2),
        "fig1d": plots.motion(found, 49, 50),
        "fig2a": plots.profiles(drawn, ranks),
        "fig2b": plots.log_profiles(drawn, fits, ranks, widths),
        "fig2c": plots.flatness_by_rank(widths, surrogates),
        "fig2d": plots.variance_by_flatness(found, widths, run.load("laws", Laws), surrogates),
    }


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


def _spread(value: float | None, interval: Sequence[float | None]) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" + ("" if interval[0] is None else f" [{interval[0]:.2f}, {interval[1]:.2f}]")


def _exponents(summary: dict[str, Any]) -> list[dict[str, str]]:
    def band(name: str) -> str:
        values = [value for value in summary[f"{name}_null"] if value is not None]
        if not values:
            return "–"
        mean = sum(values) / len(values)
        return f"{_spread(mean, summary[f'{name}_null_band'])} ({len(values)} surrogates)"

    return [
        {
            "name": "in-sample: modes and variances from one window (the paper's way)",
            "psi": _spread(summary["psi"], summary["psi_interval"]),
            "gamma": _spread(summary["gamma"], summary["gamma_interval"]),
        },
        {
            "name": "cross-fitted: the same modes, variances of the next window",
            "psi": _spread(summary["psi_cross"], summary["psi_cross_interval"]),
            "gamma": _spread(summary["gamma_cross"], summary["gamma_cross_interval"]),
        },
        {"name": "null: shuffled increments of the same window", "psi": band("psi"), "gamma": band("gamma")},
        {"name": "null: isotropic random walk, N ≫ T (exact)", "psi": "–", "gamma": "2.00"},
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
            "Seconds of each stage, when last done",
            ", ".join(f"{name} {seconds:.0f}" for name, seconds in timings.items()) or "–",
        ),
    ]


def write_reproduction_report(folder: str | Path, pooled: Sequence[Pooled], figure: str, data: str) -> Path:
    """Write ``report.html`` of a reproduction over seeds and settings.

    Returns:
        Its path.
    """
    names = [f"B = {entry.batch_size}, α = {entry.learning_rate:g}" for entry in pooled]
    runs = [
        [(run.load("spectrum", Spectrum), run.load("flatness", Flatness), run.load("laws", Laws)) for run in group]
        for group in ([RunFolder.open(path) for path in entry.folders] for entry in pooled)
    ]
    figures = [
        ("Exponents.", plots.as_html(plots.pooled_exponents(pooled), "exponents"), "Every run is a point."),
        (
            "Variance against flatness.",
            plots.as_html(plots.pooled_variance_by_flatness(names, runs), "law"),
            "In-sample, all seeds.",
        ),
    ]
    page = _render(
        "reproduction.html.j2",
        title=f"Reproduction of {figure} on {data}",
        about=f"{len(pooled)} settings, seeds {', '.join(str(seed) for seed in pooled[0].seeds)}",
        columns=COLUMNS,
        rows=table_rows(pooled),
        figures=figures,
        pooled=pooled,
    )
    path = Path(folder) / "report.html"
    write_text(path, page)
    return path
