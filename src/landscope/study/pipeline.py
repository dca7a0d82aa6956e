"""Runs the stages of an analysis in order; what is done is not done again."""

from __future__ import annotations

import time
from collections.abc import Sequence

from landscope.errors import InputError
from landscope.progress import Reporter
from landscope.study.analysis import Analysis
from landscope.study.parts import Part, Stage

__all__ = ["run_stages"]

_TICKS = 100
"""Steps of the progress bar for each part."""


def run_stages(analysis: Analysis, stages: Sequence[Stage], reporter: Reporter) -> None:
    """Make every part of the stages that is missing and can be made, and note why the others cannot.

    Args:
        analysis: The analysis.
        stages: Stages, in order.
        reporter: Shows progress.

    Raises:
        StorageError: If another process works on the study or has changed its settings, or a result is damaged.
        InputError: If the model, the data or the recording do not fit.
    """
    with analysis.folder.locked():
        analysis.folder.check_settings()
        for stage in stages:
            _run(analysis, stage, reporter)


def _run(analysis: Analysis, stage: Stage, reporter: Reporter) -> None:
    started, made = time.perf_counter(), 0
    parts = stage.parts(analysis)
    with reporter.stage(stage.title) as progress:
        for number, part in enumerate(parts):
            analysis.progress = lambda done, total, number=number: progress(
                _TICKS * number + _TICKS * done // max(1, total), _TICKS * len(parts)
            )
            made += _make(analysis, part)
            progress(_TICKS * (number + 1), _TICKS * len(parts))
    if made or stage.name not in analysis.folder.timings():
        seconds = time.perf_counter() - started
        analysis.folder.note_time(stage.name, seconds)
        reporter.note(f"[green]done[/green] {stage.name} in {seconds:.1f} s")


def _make(analysis: Analysis, part: Part) -> bool:
    """Make a part unless it is there; whether anything was made."""
    if analysis.folder.has(part.name):
        return False
    if not analysis.has_subject and part.name in analysis.folder.read_note("not-measured"):
        return False  # the reason stays that of the analysis that had the model
    reason = analysis.reason_against(part)
    if not reason:
        try:
            analysis.folder.save(part.name, part.make(analysis))
        except InputError as error:
            if not (part.is_optional and analysis.has_subject):
                raise
            reason = str(error)
    reasons = analysis.folder.read_note("not-measured")
    if reason and reasons.get(part.name) != reason:
        analysis.folder.note("not-measured", {**reasons, part.name: reason})
    if not reason and part.name in reasons:
        analysis.folder.note("not-measured", {name: why for name, why in reasons.items() if name != part.name})
    return not reason
