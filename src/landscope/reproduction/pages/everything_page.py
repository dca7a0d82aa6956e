"""The page of a reproduction from recipes: all claims, the table and figures of every recipe, and the times."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from landscope import plots
from landscope.report.captions import CAPTIONS, WIDE
from landscope.report.render import render
from landscope.reproduction.everything import Reproduction
from landscope.reproduction.experiment.run import ExperimentRun
from landscope.reproduction.figures import plots_across
from landscope.reproduction.figures.fig4.plots import PAPER_PLOTS, PLOTS
from landscope.reproduction.figures.recipe import Section
from landscope.reproduction.pages.reproduction_page import SHOWN
from landscope.storage.atomic import write_text

__all__ = ["write_everything_report"]

Drawn = tuple[str, str, str, bool]
"""Heading, figure, caption, and whether it takes the whole width."""

_DRAWN: dict[str, tuple[tuple[Callable[[Any], go.Figure], str, str, bool], ...]] = {
    "sec-S6": (
        (
            plots_across.exponents_of_cases,
            "ψ of every case.",
            "Every run is a point; grey: surrogates of its own steps.",
            True,
        ),
    ),
    "fig6": (
        (
            plots_across.flatness_spectra,
            "Flatness spectra.",
            "One seed a width; F over the norm of the weights.",
            False,
        ),
        (plots_across.dimensions_by_size, "Effective dimensions.", "Every seed is a point.", False),
    ),
    "sec-S9": ((plots_across.noisy_training, "Test error.", "Mean over seeds, by the shape of the noise.", False),),
    "fig4": tuple((*plot, False) for plot in PAPER_PLOTS),
    **dict.fromkeys(("sec-S8-five-digits", "sec-S8-cifar"), tuple((*plot, False) for plot in PLOTS)),
    "branches": ((plots_across.barriers, "Barriers.", "Every branch is a point.", False),),
}


def write_everything_report(found: Reproduction) -> Path:
    """Write ``report.html`` of a reproduction from recipes.

    Returns:
        Its path.
    """
    settings = found.plan.settings
    page = render(
        "everything.html.j2",
        title=f"Reproduction on {settings.data}",
        about=f"{found.plan.seeds} seeds{', quick sizes' if found.plan.quick else ''}",
        judgements=found.judgements,
        sections=[(section, _figures(section)) for section in found.sections],
        times=[(title, f"{seconds / 60:.1f}") for title, seconds in found.seconds.items()],
    )
    path = found.plan.folder / "report.html"
    write_text(path, page)
    return path


@functools.lru_cache(maxsize=1)
def _figures_of(path: Path) -> dict[str, go.Figure]:
    """The figures of a run, drawn once for all sections about it."""
    return ExperimentRun.open(path).results.plots.available()


def _figures(section: Section) -> list[Drawn]:
    if section.shown is None:
        return []
    if section.key in _DRAWN:
        return [
            (heading, plots.as_html(draw(section.shown), f"{section.key}-{number}"), caption, wide)
            for number, (draw, heading, caption, wide) in enumerate(_DRAWN[section.key])
        ]
    every = _figures_of(section.shown)
    return [
        (CAPTIONS[name][0], plots.as_html(every[name], f"{section.key}-{name}"), CAPTIONS[name][1], name in WIDE)
        for name in SHOWN.get(section.key, ())
        if name in every
    ]
