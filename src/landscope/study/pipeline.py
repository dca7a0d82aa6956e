"""Runs the stages of an analysis in order; what is done is not done again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from landscope.errors import LandscopeError, StorageError
from landscope.progress import Reporter
from landscope.study.analysis import Analysis
from landscope.study.draws import FAILURES, draws_of_workers, made_by_workers
from landscope.study.parts import Part, Stage

__all__ = ["run_stages"]

_GIVEN, _PARENTS = "given", "parents"
"""What a part is made from, beside what all results of its study are made from."""
_MISSING = "missing"
_TICKS = 100
"""Steps of the progress bar for each part."""


def run_stages(analysis: Analysis, stages: Sequence[Stage], reporter: Reporter) -> None:
    """Make every part of the stages that is missing and can be made, and note why the others cannot.

    A part is made again where something that it uses came later or has changed.

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
    first_draw = next((part for part in parts if part.draw), None)
    with reporter.stage(stage.title) as progress:
        for number, part in enumerate(parts):
            analysis.progress = lambda done, total, number=number: progress(
                _TICKS * number + _TICKS * done // max(1, total), _TICKS * len(parts)
            )
            if part == first_draw:
                for one in draws_of_workers(analysis, stage, parts, lambda one: _is_to_make(analysis, one)):
                    made += _make(analysis, one, reporter)
            made += _make(analysis, part, reporter)
            progress(_TICKS * (number + 1), _TICKS * len(parts))
    for name in analysis.folder.names(stage.pieces) if stage.pieces else ():
        analysis.folder.remove(name)
    if made or stage.name not in analysis.folder.timings():
        seconds = time.perf_counter() - started
        analysis.folder.note_time(stage.name, seconds)
        reporter.note(f"[green]done[/green] {stage.name} in {seconds:.1f} s")


def _make(analysis: Analysis, part: Part, reporter: Reporter) -> bool:
    """Make a part unless it is there, whole, and made from what there is now; whether anything was made."""
    given = _given(analysis, part)
    reason = _reason_to_make(analysis, part, given)
    if not reason:
        return False
    if reason is not _MISSING:
        reporter.note(f"[yellow]{part.name} is made again:[/yellow] the file is {reason}")
    if not analysis.has_subject and part.name in analysis.folder.read_note("not-measured"):
        return False  # the reason stays that of the analysis that had the model
    reason = analysis.reason_against(part) or _reason_of_failure(analysis, part, given)
    analysis.folder.change_note("not-measured", {part.name: reason or None})
    return not reason


def _is_to_make(analysis: Analysis, part: Part) -> bool:
    """Whether a part is missing, or made from something else than what there is now, and can be made."""
    return bool(_reason_to_make(analysis, part, _given(analysis, part))) and not analysis.reason_against(part)


def _reason_to_make(analysis: Analysis, part: Part, given: dict[str, Any]) -> str:
    """Why a part has to be made, or made again; empty where it is there and fits."""
    folder, name = analysis.folder, part.name
    if not folder.has(name):
        return _MISSING
    if not folder.is_whole(name):
        return "damaged"
    reason = folder.reason_against(name)
    if reason:
        return reason
    made = folder.heading(name).identity
    if any(value and made.get(_GIVEN, {}).get(key) != value for key, value in given.items()):
        return "made without what is given now"
    parents = made.get(_PARENTS, {})
    changed = [one for one in parents if folder.has(one) and folder.heading(one).digest != parents[one]]
    if changed:
        return f"made from another {changed[0]}"
    note = part.lost_note(analysis)
    if note and not analysis.reason_against(part):
        return f"there, but {note}.json, which is made with it, is lost"
    return ""


def _reason_of_failure(analysis: Analysis, part: Part, given: dict[str, Any]) -> str:
    """Make and save a part; why an optional one cannot be made, empty if it was made."""
    folder = analysis.folder
    try:
        if found := made_by_workers(analysis, part):
            result, read = found
            if isinstance(result, Exception):
                raise result
        else:
            with folder.watched() as read:
                result = part.make(analysis)
    except StorageError:
        raise
    except FAILURES as error:
        if not (part.is_optional and analysis.has_subject):
            raise
        return _in_words(error)
    parents = {name: digest for name, digest in read.items() if name != part.name}
    folder.save(part.name, result, {_GIVEN: given, _PARENTS: parents})
    return ""


def _in_words(error: Exception) -> str:
    """Why a part could not be made, as the end of "not measured:"."""
    if isinstance(error, LandscopeError):
        return f"needs {error.expected}; found: {error.got}. {error.hint}"
    return str(error)


def _given(analysis: Analysis, part: Part) -> dict[str, Any]:
    """What a part is made with, of what may come later or change; None or False for what is not there."""
    values = {"minibatches": analysis.batch_size, "epochs": analysis.steps_per_epoch}
    given: dict[str, Any] = {need: values[need] for need in part.needs if need in values}
    for name in part.uses:
        if name == "evaluate":
            given[name] = not analysis.lacks(name)
        else:
            given[name] = values[name] if name in values else analysis.folder.has(name)
    return given
