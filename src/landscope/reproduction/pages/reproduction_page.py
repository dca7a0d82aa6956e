"""The page of a reproduction over seeds and settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from landscope import plots
from landscope.law.exponents import Exponents
from landscope.report.captions import CAPTIONS, WIDE
from landscope.report.render import render
from landscope.reproduction.experiment.run import ExperimentRun
from landscope.reproduction.figures import plots_pooled
from landscope.reproduction.pooling import COLUMNS, Pooled, judgements_on, table_rows
from landscope.storage.atomic import write_text

__all__ = ["SHOWN", "write_reproduction_report"]

SHOWN = {
    "fig1": ("fig1a", "fig1b", "fig1c", "fig1d"),
    "fig2": ("fig2a", "fig2b", "fig2c", "fig2d"),
    "fig3": ("fig3a", "fig3b-d", "fig3b-tau", "predictions", "samplings", "equilibrium", "growth", "exponents"),
    "fig5": ("fig5a", "fig5b", "fig5c", "fig5d", "fig5d-inset"),
    "sec-S2": ("training", "drift-line", "along-drift", "fig1c", "activity"),
    "sec-S3": ("locality", "layers"),
    "fig-S7": ("figs7", "predictions"),
}
"""Figures of the first run that a reproduction shows."""


def write_reproduction_report(folder: str | Path, pooled: Sequence[Pooled], figure: str, data: str) -> Path:
    """Write ``report.html`` of a reproduction over seeds and settings.

    Returns:
        Its path.
    """
    names = [f"B = {entry.batch_size}, α = {entry.learning_rate:g}" for entry in pooled]
    runs = [
        [ExperimentRun.open(path).load("exponents-in-sample", Exponents) for path in entry.folders] for entry in pooled
    ]
    first = ExperimentRun.open(pooled[0].folders[0])
    every = first.results.plots.available()
    figures = [
        (
            "Exponents.",
            plots.as_html(plots_pooled.pooled_exponents(pooled), "pooled-exponents"),
            "Every run is a point.",
            False,
        ),
        (
            "Variance against flatness.",
            plots.as_html(plots_pooled.pooled_variance_by_flatness(names, runs), "pooled-law"),
            "In-sample, all seeds.",
            False,
        ),
        *(
            (
                CAPTIONS[name][0],
                plots.as_html(every[name], name),
                f"{CAPTIONS[name][1]} ({names[0]}, seed {first.settings.seed})",
                name in WIDE,
            )
            for name in SHOWN[figure]
            if name in every
        ),
    ]
    page = render(
        "reproduction.html.j2",
        title=f"Reproduction of {figure} on {data}",
        about=f"{len(pooled)} settings, seeds {', '.join(str(seed) for seed in pooled[0].seeds)}",
        columns=COLUMNS,
        rows=table_rows(pooled),
        figures=figures,
        pooled=[(entry.batch_size, entry.learning_rate, judgements_on(entry, figure)) for entry in pooled],
    )
    path = Path(folder) / "report.html"
    write_text(path, page)
    return path
