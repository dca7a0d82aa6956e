"""How far a recording reached and which files it left: its training notes it, and every opening compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from landscope.errors import StorageError
from landscope.files.atomic import flush_folder
from landscope.storage import RowStore, read_heading
from landscope.storage.folder import ResultFolder
from landscope.study.identity import digest_of_recording
from landscope.study.remedies import is_run
from landscope.study.step_files import StepFiles

__all__ = [
    "STEP_FOLDERS",
    "check_facts",
    "check_reach",
    "missing_files",
    "note_reach",
    "note_whole",
    "reason_against_rows",
    "shorten",
]

_NOTE, _REACH, _WHOLE = "training", "recorded", "left"
STEP_FOLDERS = {"checkpoints": "whole model", "second-moments": "second moments of Adam"}
"""Folders with one file for each of some steps, and what a file holds."""


def note_reach(folder: ResultFolder) -> None:
    """Note the rows that are on the disk; call it after they were flushed."""
    store = RowStore.open(folder.path / "trajectory")
    if not store.rows:
        return
    first, last = (int(store.read("steps", row, row + 1)[0]) for row in (0, store.rows - 1))
    folder.change_note(_NOTE, {_REACH: {"rows": store.rows, "first": first, "last": last}})


def shorten(folder: ResultFolder, step: int) -> None:
    """Note that rows after a step will be removed; call it before they are."""
    facts = folder.read_note(_NOTE)
    reach = facts.get(_REACH)
    changed: dict[str, Any] = {_WHOLE: None}
    if reach is not None and reach["last"] > step:
        store = RowStore.open(folder.path / "trajectory")
        rows = int((store.read("steps", 0, store.rows) <= step).sum())
        last = int(store.read("steps", rows - 1, rows)[0]) if rows else 0
        changed[_REACH] = {**reach, "rows": rows, "last": last} if rows else None
    folder.change_note(_NOTE, changed)


def note_whole(folder: ResultFolder) -> None:
    """Note the digests of the rows and of the files of single steps, when a training has ended."""
    flush_folder(folder.path)
    note_reach(folder)
    left: dict[str, Any] = {"recording": digest_of_recording(folder.path / "trajectory")}
    for name in STEP_FOLDERS:
        files = StepFiles(folder.path / name)
        left[name] = {str(step): read_heading(files.file(step)).digest for step in files.steps()}
    folder.change_note(_NOTE, {_WHOLE: left})


def check_reach(folder: ResultFolder, first_step: int | None = None) -> None:
    """Raise unless the rows that were noted are there: all of them, or those before a step to go on from.

    Raises:
        StorageError: If some are not.
    """
    path = folder.path / "trajectory"
    facts = folder.read_note(_NOTE)
    reach = facts.get(_REACH)
    store = RowStore.open(path) if path.exists() else None
    steps = [] if store is None else store.read("steps", 0, store.rows).tolist()
    if reach is None:
        return
    rows, first, last = (int(reach[name]) for name in ("rows", "first", "last"))
    if first_step is None:
        is_there = len(steps) >= rows and steps[rows - 1] == last
    else:
        is_there = first_step <= first or bool(steps and steps[-1] >= min(last, _due(facts, first_step)))
    if is_there:
        return
    there = f"{len(steps)} rows up to step {steps[-1]}" if steps else "no rows"
    again = f"first_step={steps[-1] + 1} or less" if steps else f"first_step={first}"
    raise StorageError(
        expected=f"the {rows} rows up to step {last} that were recorded in {path}",
        got=there,
        hint="Rows were deleted, or replaced by an older copy. "
        + _way_on(
            folder,
            f"Restore {path} from a copy, or record again from a checkpoint of your own with "
            f"study.record(optimizer, {again}).",
        ),
    )


def _way_on(folder: ResultFolder, hint: str) -> str:
    """What to do about a damaged recording: a built-in training can be made again."""
    if is_run(folder.path):
        return f"landscope analyse {folder.path} trains again, with the same numbers."
    return hint


def _due(facts: dict[str, Any], first_step: int) -> int:
    """The last step before another one that has a row."""
    every = int(facts.get("every", 1))
    return (first_step - 1) // every * every


def check_facts(folder: ResultFolder) -> None:
    """Raise unless the note of the training is there, and the rows are those that it was made with.

    Raises:
        StorageError: If it is missing, or of another recording.
    """
    if not (folder.path / f"{_NOTE}.json").exists():
        raise StorageError(
            expected=f"what is known of the training in {folder.path / _NOTE}.json",
            got="no such file",
            hint="It was deleted. "
            + _way_on(folder, "Restore it from a copy, or record again: the analysis needs the optimiser."),
        )
    if reason := reason_against_rows(folder):
        raise StorageError(
            expected=f"the rows in {folder.path / 'trajectory'} with which the training ended",
            got=reason,
            hint=_way_on(folder, "Restore the folder, or its training.json, from a copy; or record again."),
        )


def reason_against_rows(folder: ResultFolder) -> str:
    """Why the rows are not those with which the training ended; empty where they are, or it has not ended."""
    left = folder.read_note(_NOTE).get(_WHOLE)
    if not left:
        return ""
    found = digest_of_recording(folder.path / "trajectory")
    if not found:
        return "a recording that cannot be read"
    return "" if found == left["recording"] else "another recording"


def missing_files(folder: ResultFolder) -> dict[str, str]:
    """Files of single steps that a training left and that are not there, or are others: their names, and why."""
    left, found = folder.read_note(_NOTE).get(_WHOLE) or {}, dict[str, str]()
    for name in STEP_FOLDERS:
        files = StepFiles(folder.path / name)
        for step, digest in left.get(name, {}).items():
            file = files.file(int(step))
            if reason := _reason_against(file, digest):
                found[f"{name}/{file.name}"] = reason
    return found


def _reason_against(file: Path, digest: str) -> str:
    if not file.exists():
        return "missing"
    try:
        return "" if read_heading(file).digest == digest else "of another training"
    except StorageError as error:
        return error.got
