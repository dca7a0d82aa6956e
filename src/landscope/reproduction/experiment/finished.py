"""Whether what a finished training left is still whole, and what makes it whole: the same training, bit for bit."""

from __future__ import annotations

import shutil
from pathlib import Path

from landscope.errors import StorageError
from landscope.reproduction.experiment.settings import Settings
from landscope.study.folder import TRAINED, StudyFolder
from landscope.study.reach import STEP_FOLDERS
from landscope.study.run_file import RunFile, read_run_file, write_run_file
from landscope.study.settings import StudySettings, checked_settings
from landscope.study.trained_with import settings_of_training
from landscope.study.whole_training import reason_against_training

__all__ = [
    "INITIAL", "PRECONDITIONER", "drop_training", "put_study_settings", "reason_to_train_again", "restore_settings",
]  # fmt: skip

PRECONDITIONER = "preconditioner"
INITIAL = "initial"
"""Key of the digest of the initial weights, among the facts of the training."""
_FACTS = "training"


def reason_to_train_again(folder: StudyFolder, start_key: str) -> str:
    """Why a training that has ended must be made again; empty where all that it left is there and whole.

    Args:
        folder: Folder of its study.
        start_key: Fact of the training that the analysis needs.
    """
    try:
        if start_key not in folder.read_note(_FACTS):
            return "training.json, with what is known of the training, is missing"
    except StorageError as error:
        return f"{error.expected}: {error.got}"
    return reason_against_training(folder)


def drop_training(folder: StudyFolder) -> None:
    """Delete what a training left; its result goes first, so that a kill at any moment leaves one to be made again."""
    for name in TRAINED:
        folder.remove(name)
    kept = _initial(folder)
    folder.remove_note(_FACTS)
    if kept:
        folder.note(_FACTS, kept)
    for name in ("trajectory", *STEP_FOLDERS):
        shutil.rmtree(folder.path / name, ignore_errors=True)


def _initial(folder: StudyFolder) -> dict[str, str]:
    """The digest of the initial weights, which the training that is made again must have too."""
    try:
        found = folder.read_note(_FACTS).get(INITIAL)
    except StorageError:
        return {}
    return {INITIAL: found} if found else {}


def restore_settings(path: Path) -> None:
    """Write the settings of a run again where a file of them is damaged, missing or another's.

    The training names those of the run, and those of the analysis follow from them.
    """
    known, there = _settings_of_training(path), _run_file(path)
    if known is not None:
        wanted = RunFile("run", known.model_dump(mode="json"))
        if there is None or (there.purpose == wanted.purpose and there != wanted):
            write_run_file(path, wanted.purpose, wanted.settings)
    settings = known or _settings_in(there)
    if settings is not None:
        of_study = _study_settings(path)
        before = {} if of_study is None else of_study.model_dump()
        put_study_settings(path, checked_settings(StudySettings, {**before, **settings.analysis}))


def put_study_settings(path: Path, wanted: StudySettings) -> None:
    """Write the settings of the analysis, which follow from those of the run, unless they are there."""
    if _study_settings(path) != wanted:
        StudyFolder.write_settings(path, wanted)


def _settings_of_training(path: Path) -> Settings | None:
    """The settings that a finished training carries; None where there is none, or it is not that of the recording."""
    kept = settings_of_training(path)
    try:
        return Settings.of({name: kept[name] for name in Settings.model_fields}) if kept is not None else None
    except (KeyError, TypeError, ValueError):
        return None


def _run_file(path: Path) -> RunFile | None:
    """What the file of settings says; None where it is missing or damaged."""
    try:
        return read_run_file(path)
    except StorageError:
        return None


def _settings_in(found: RunFile | None) -> Settings | None:
    try:
        return Settings.of(found.settings) if found is not None and found.purpose == "run" else None
    except (TypeError, ValueError):
        return None


def _study_settings(path: Path) -> StudySettings | None:
    """The settings of the analysis in a folder; None where they are lost."""
    try:
        return StudyFolder.open(path).settings
    except StorageError:
        return None
