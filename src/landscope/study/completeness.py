"""Whether the files of a study belong together, and whether all are there that its stages and its training left."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from landscope.errors import LandscopeError, StorageError
from landscope.files.atomic import plain_values
from landscope.files.checked_json import read_checked
from landscope.storage.folder import ResultFolder
from landscope.study.analysis import Analysis
from landscope.study.centre import CENTRE, problem_of_centre
from landscope.study.changed import made_with_others
from landscope.study.folder import TRAINED, StudyFolder
from landscope.study.identity import STUDY, differ, identity_of, made_from, usual_identity
from landscope.study.parts import Part
from landscope.study.reach import missing_files, reason_against_rows
from landscope.study.run_file import RUN_FILE, has_run_file, read_run_file
from landscope.study.sealed_page import digest_of_page, is_whole_page
from landscope.study.stages import STAGES
from landscope.study.summary import summary_of
from landscope.study.trained_with import is_built_in, settings_of_training

__all__ = ["foreign_parts", "missing_parts"]

_PARENTS = "parents"
_EXPERIMENT = "experiment"
"""Results with this key in their identity are measured by a figure, on a study that it has made."""
Problem = tuple[str, str]
"""A file, and what is wrong with it."""


def foreign_parts(folder: StudyFolder) -> Iterator[Problem]:
    """Files that do not belong to this study: of another recording or other settings, or older than their parents."""
    others = _of_figures(folder)
    identities = {name: identity_of(folder, name) for name in folder.names() if name not in {*TRAINED, *others}}
    now, made = made_from(folder.path, folder.settings), usual_identity(folder, identities)
    is_whole = not reason_against_rows(folder)
    if len(identities) > 1 and made.get("settings") != now["settings"] and made.get("recording") == now["recording"]:
        yield "study.yaml", "other settings than those of the results"
    if problem := problem_of_centre(folder):
        yield CENTRE, problem
    yield from _of_the_run(folder)
    for name, identity in identities.items():
        if different := _differs(made, identity.get(STUDY)):
            yield f"{name}.zarr.zip", f"made from other {different} than the other results"
    if is_whole and not missing_files(folder) and made.get("settings") == now["settings"]:
        whole = [name for name in folder.names() if folder.is_whole(name) and name not in others]
        for name in whole:
            if (against := folder.reason_against(name)) and not _differs(made, identities.get(name, {}).get(STUDY)):
                yield f"{name}.zarr.zip", against
    for note in folder.notes():
        try:
            if not folder.is_of_this_study(note) and is_whole:
                yield f"{note}.json", "of another recording, or of other settings"
        except StorageError:
            continue  # named as damaged
    yield from made_with_others(folder)
    yield from _older_than_parents(folder, identities)


def _of_figures(folder: StudyFolder) -> set[str]:
    """Results that a figure has measured on the run of this study."""
    return {name for name in folder.names() if _EXPERIMENT in identity_of(folder, name)}


def _older_than_parents(folder: StudyFolder, identities: dict[str, dict]) -> Iterator[Problem]:
    for name, identity in identities.items():
        for parent, digest in identity.get(_PARENTS, {}).items():
            if folder.is_whole(parent) and folder.heading(parent).digest != digest:
                yield f"{name}.zarr.zip", f"made from another {parent} than the one that is there"
                break


def _of_the_run(folder: StudyFolder) -> Iterator[Problem]:
    """Settings of a built-in run that are not those of its training."""
    known, is_there = settings_of_training(folder.path), has_run_file(folder.path)
    if is_built_in(known) and not is_there:
        yield RUN_FILE, "missing"
    try:
        settings = read_run_file(folder.path).settings if is_there else {}
    except StorageError:
        return  # named as damaged
    if known is not None and any(known.get(key) != value for key, value in settings.items()):
        yield RUN_FILE, "other settings than those of the training"


def missing_parts(folder: StudyFolder) -> Iterator[Problem]:
    """Results of finished stages that are not there, and notes that an analysis leaves."""
    if reason := _page(folder.path):
        yield "report.html", reason
    if reason := _summary(folder):
        yield "summary.json", reason
    try:
        parts_of = {stage.name: stage.parts(Analysis(folder, None)) for stage in STAGES}
    except LandscopeError:
        return  # what they need is named already
    stages = {stage: [part.name for part in parts] for stage, parts in parts_of.items()}
    yield from _lost_notes(folder, itertools.chain.from_iterable(parts_of.values()))
    timings, reasons = _note(folder, "timings"), _note(folder, "not-measured") or {}
    done, begun = set(timings or ()), [stage for stage, parts in stages.items() if any(map(folder.has, parts))]
    is_lost = timings is None or (not timings and len(begun) > 1)
    if is_lost and not (folder.path / "timings.json").exists():
        yield "timings.json", "missing"
    for stage, parts in stages.items():
        made = [name for name in parts if folder.has(name)]
        if is_lost and made:  # nothing says that the stage is finished, so what is there does
            done.add(stage)
        missing = [name for name in parts if name not in made and name not in reasons]
        if stage in done:
            if missing and not (folder.path / "not-measured.json").exists():
                yield "not-measured.json", f"missing, with the reason why there is no {missing[0]}"
            for name in missing:
                yield f"{name}.zarr.zip", "missing, and not-measured.json gives no reason"
        elif made and not missing:
            yield "timings.json", f"no entry of the finished stage {stage}"
    if (folder.path / "report.html").exists() and not (folder.path / "summary.json").exists():
        yield "summary.json", "missing"


def _lost_notes(folder: StudyFolder, parts: Iterable[Part]) -> Iterator[Problem]:
    """Notes that parts leave beside their results."""
    analysis = Analysis(folder, None)
    for part in parts:
        try:
            note = part.lost_note(analysis) if folder.has(part.name) else ""
        except StorageError:
            continue  # named as damaged
        if note:
            yield f"{note}.json", f"missing, or without what belongs to {part.name}"


def _note(folder: StudyFolder, name: str) -> dict[str, Any] | None:
    """A note of the analysis, whatever recording it is about; None where it is damaged."""
    try:
        return ResultFolder.read_note(folder, name)
    except StorageError:
        return None


def _page(path: Path) -> str:
    """What is wrong with the page; empty where nothing is, or none was written."""
    page = path / "report.html"
    if not page.exists():
        return "missing" if (path / "summary.json").exists() else ""
    if not is_whole_page(page):
        return "content that does not fit its checksum"
    try:
        known = read_checked(path / "summary.json").get("page") if (path / "summary.json").exists() else None
    except StorageError:
        return ""
    return "of another analysis" if known not in (None, digest_of_page(page)) else ""


def _summary(folder: StudyFolder) -> str:
    """Why the summary is not that of the results; empty where it is, or none was written."""
    try:
        noted, analysis = folder.read_note("summary"), Analysis(folder, None)
        others = _of_figures(folder)
        if not noted or not all(folder.fits(name) for name in folder.names() if name not in others):
            return ""  # named already
        now = json.loads(json.dumps(plain_values(summary_of(analysis))))
    except LandscopeError:
        return ""  # named already
    other = [key for key in now if key != "provenance" and now[key] != noted.get(key)]
    return f"{other[0]} is not that of the results" if other else ""


def _differs(made: dict[str, Any], found: dict[str, Any] | None) -> str:
    return ", ".join(key for key in made if found is not None and differ(found.get(key), made[key]))
