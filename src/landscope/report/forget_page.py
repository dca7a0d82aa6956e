"""The page of ``landscope forget``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from landscope import plots
from landscope.report.render import render
from landscope.run import RunFolder
from landscope.run.forget import forget_judgements
from landscope.settings import ForgetOptions
from landscope.storage import write_text
from landscope.tasks import METHODS, TasksInTurn

__all__ = ["FORGET_HEADINGS", "forget_rows", "write_forget_report"]

FORGET_HEADINGS = ("kept by", "λ", "average error (%)", "forgetting (points)", "numbers / N", "seconds")


def write_forget_report(run: RunFolder, options: ForgetOptions, found: Mapping[str, TasksInTurn]) -> Path:
    """Write ``report.html`` beside the results.

    Returns:
        Its path.
    """
    figures = [
        (name_of(method), plots.as_html(plots.errors_in_turn(one), f"errors-{method}")) for method, one in found.items()
    ]
    page = render(
        "forget.html.j2",
        title=f"Tasks in turn on {run.settings.data}",
        about=f"tasks {options.tasks}; layers trained before: {options.pretraining}; one seed",
        judgements=forget_judgements(found),
        headings=[*FORGET_HEADINGS, *(f"task {name} (%)" for name in next(iter(found.values())).tasks)],
        rows=forget_rows(found),
        figures=figures,
        settings_yaml=run.settings.to_yaml(),
    )
    path = run.path / "report.html"
    write_text(path, page)
    return path


def name_of(method: str) -> str:
    """What a person reads."""
    return METHODS[method].name if method in METHODS else "nothing"


def forget_rows(found: Mapping[str, TasksInTurn]) -> list[list[str]]:
    """One row a method: errors at the end, what was forgotten, and what it took."""
    return [
        [
            name_of(method), "–" if one.strength != one.strength else f"{one.strength:g}",
            f"{100 * one.average_error:.2f}", f"{100 * one.forgetting:.2f}", f"{one.stored_over_weights:.3g}",
            f"{float(one.seconds.sum() + one.keeping_seconds.sum()):.1f}",
            *(f"{100 * error:.2f}" for error in one.error[-1].tolist()),
        ]
        for method, one in found.items()
    ]  # fmt: skip
