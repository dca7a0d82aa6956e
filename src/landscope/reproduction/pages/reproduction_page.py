"""The page of a reproduction: all claims, the table and plots of every figure, and the times."""

from __future__ import annotations

from pathlib import Path

from landscope import plots
from landscope.report.render import render
from landscope.reproduction.figures.figure import Section
from landscope.reproduction.reproduce import Reproduction
from landscope.storage.atomic import write_text

__all__ = ["write_reproduction_page"]


def write_reproduction_page(results: Reproduction) -> Path:
    """Write ``report.html`` of a reproduction.

    Returns:
        Path of the page.
    """
    plan = results.plan
    page = render(
        "reproduction.html.j2",
        title=f"Reproduction on {plan.settings.data}",
        about=f"{plan.seeds} seeds{', quick sizes' if plan.quick else ''}",
        judgements=results.judgements,
        sections=[(section, _drawn(section)) for section in results.sections],
        times=[(title, f"{seconds / 60:.1f}") for title, seconds in results.seconds.items()],
    )
    path = plan.folder / "report.html"
    write_text(path, page)
    return path


def _drawn(section: Section) -> list[tuple[str, str, str, bool]]:
    """The plots of a section: heading, HTML, caption, and whether it is wide."""
    drawn = [(plot, plot.draw()) for plot in section.plots]
    return [
        (plot.heading, plots.as_html(figure, f"{section.key}-{number}"), plot.caption, plot.wide)
        for number, (plot, figure) in enumerate(drawn)
        if figure is not None
    ]
