"""The page of a study: self-contained, works offline, needs no model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import yaml

from landscope import plots
from landscope.monitoring import MonitorHistory
from landscope.monitoring.monitor import HISTORY_FILE
from landscope.report import CAPTIONS, SECTIONS, WIDE, FigureSection, render
from landscope.report.limits import PROCESS_LIMIT_IS, RUN_LIMIT_IS
from landscope.storage.archive import load
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.claims import judgements_of
from landscope.study.exponents import ExponentTable, exponent_rows
from landscope.study.figures import FIGURES, figures_of, why_missing
from landscope.study.lead import lead_of
from landscope.study.page_facts import page_facts
from landscope.study.remedies import is_run
from landscope.study.result_words import FURTHER, makes_stage
from landscope.study.sealed_page import write_page_text
from landscope.study.stages.controls import ROWS as CONTROL_ROWS
from landscope.study.stages.dynamics import ROWS as DYNAMICS_ROWS
from landscope.study.summary import summary_of
from landscope.surrogates.definitions import WALK
from landscope.surrogates.registry import null_definitions
from landscope.wording import number_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["write_page"]

_WITHOUT_FIGURE = {
    "drift": {saved.PHASES.name: "Phases of learning"},
    "dynamics": {saved.LYAPUNOV.name: "Lyapunov residual"},
}
"""Results of each section that claims are judged by, and no figure shows, in words."""
_FURTHER_ROWS = {
    "controls": ("Other directions, surrogates, one window corrected, thermal equilibrium", CONTROL_ROWS),
    "dynamics": ("Orders of the minibatches", DYNAMICS_ROWS),
}
"""Rows of the table of exponents by the stage that adds them, and words for all of a stage."""


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
    figures, table = figures_of(analysis), ExponentTable(tuple(exponent_rows(analysis)))
    page = render(
        "report.html.j2",
        title=title,
        created=f"{datetime.fromisoformat(summary['provenance']['created']):%Y-%m-%d %H:%M} UTC",
        summary=summary,
        lead=lead_of(summary),
        judgements=judgements_of(analysis),
        exponents=[*table.cells(), [WALK, "–", "–", "–", "2.00", "–"]],
        without_interval=table.without_interval,
        nulls=_nulls(table),
        limits=(PROCESS_LIMIT_IS, RUN_LIMIT_IS),
        sensitivity=_sensitivity(analysis),
        facts=[*facts, *page_facts(analysis, summary)],
        training=_drawn(figures, "training_curves"),
        monitored=_monitored(analysis),
        no_training=_missing(analysis, "noise", {"training_curves"} - figures.keys()),
        sections=[_section(analysis, section, figures) for section in SECTIONS],
        not_measured=_not_measured(analysis),
        settings_yaml=settings or yaml.safe_dump(summary["settings"], sort_keys=False),
        provenance=json.dumps(summary["provenance"], indent=2),
    )
    path = analysis.folder.path / "report.html"
    write_page_text(path, page)
    return path


def _nulls(table: ExponentTable) -> list[list[str]]:
    """What each null of the table of exponents keeps and destroys, and what the same exponent would mean."""
    known = {**table.definitions, WALK: null_definitions()[WALK]}
    return [[name, one.keeps, one.destroys, one.agreement] for name, one in known.items()]


def _sensitivity(analysis: Analysis) -> list[list[str]]:
    """In-sample exponents under other choices, where the controls were run."""
    found = analysis.load_if_there(saved.SENSITIVITY)
    if found is None:
        return []
    return [
        [choice, *(number_text(value, ".2f") for value in row)]
        for choice, row in zip(found.choices, found.exponents.tolist(), strict=True)
    ]


def _drawn(figures: Mapping[str, go.Figure], name: str) -> tuple[str, str, str, bool] | None:
    """HTML, label, text and width of a figure; None where there is none."""
    return (plots.as_html(figures[name], name), *CAPTIONS[name], name in WIDE) if name in figures else None


def _monitored(analysis: Analysis) -> tuple[str, str, str, bool] | None:
    """The figure of what a monitor measured during the training, where it wrote into the study's folder."""
    path = analysis.folder.path / "monitor" / HISTORY_FILE
    if not path.exists():
        return None
    history = load(path, MonitorHistory)
    caption = (
        f"Measured during the training, in {100 * history.share:.1f} % of its time, on a part of the data. Curvature: "
        "the largest of the loss (λ₁) and that of minibatch losses along their gradients (batch sharpness); plain SGD "
        "is at its edge of stability where the latter is 2/α. The noise scale has a gap where the gradient cannot be "
        "told from zero."
    )
    return plots.as_html(history.plot(), "monitored"), "Monitor.", caption, True


def _section(analysis: Analysis, section: FigureSection, figures: Mapping[str, go.Figure]) -> tuple[Any, ...]:
    """A section with its figures, and the reasons why others are missing."""
    drawn = [_drawn(figures, name) for name in section.figures if name in figures]
    names = [name for name in section.figures if name not in figures]
    return section, drawn, _missing(analysis, section.stage, names, _WITHOUT_FIGURE.get(section.key, {}))


def _missing(
    analysis: Analysis, stage: str, names: Iterable[str], without_figure: Mapping[str, str] = MappingProxyType({})
) -> list[tuple[str, list[str]]]:
    """Why figures, and results that no figure shows, are missing."""
    figures = [(_reason(analysis, stage, name), CAPTIONS[name][0].rstrip(".")) for name in names]
    return _grouped([*figures, *_with_reason(analysis, without_figure)])


def _reason(analysis: Analysis, stage: str, name: str) -> str:
    reason = why_missing(analysis, name)
    if reason is None:
        return FIGURES[name].nothing
    done = analysis.folder.timings()
    return reason or _needs_stage(analysis, next((one for one in (stage, *FURTHER) if one not in done), stage))


def _needs_stage(analysis: Analysis, stage: str) -> str:
    return f"needs {makes_stage(stage, is_run=is_run(analysis.folder.path))}"


def _not_measured(analysis: Analysis) -> list[tuple[str, list[str]]]:
    """Why rows of the table of exponents are missing."""
    missing = _with_reason(analysis, {saved.FRESH.name: "same modes, fresh data"})
    for stage, (every, titles) in _FURTHER_ROWS.items():
        rows = {saved.exponents(key).name: title for key, title in titles.items()}
        missing += _with_reason(analysis, rows)
        if stage not in analysis.folder.timings():
            reasons = analysis.folder.read_note("not-measured")
            left = [title for name, title in rows.items() if not analysis.folder.has(name) and name not in reasons]
            missing += [
                (_needs_stage(analysis, stage), title) for title in ([every] if len(left) == len(rows) else left)
            ]
    return _grouped(missing)


def _with_reason(analysis: Analysis, titles: Mapping[str, str]) -> list[tuple[str, str]]:
    """Reasons and titles of the results that could not be measured."""
    reasons = analysis.folder.read_note("not-measured")
    return [
        (reasons[name], title) for name, title in titles.items() if name in reasons and not analysis.folder.has(name)
    ]


def _grouped(missing: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Reasons, each with all the names that it belongs to."""
    by_reason: dict[str, list[str]] = {}
    for reason, name in missing:
        by_reason.setdefault(reason, []).append(name)
    return list(by_reason.items())
