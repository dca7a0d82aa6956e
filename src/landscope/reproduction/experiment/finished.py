"""Whether what a finished training left is still whole, and what makes it whole: the same training, bit for bit."""

from __future__ import annotations

import shutil
from pathlib import Path

from landscope.errors import StorageError
from landscope.files.plain_yaml import read_yaml, write_yaml
from landscope.files.seal import check_seal
from landscope.reproduction.experiment.settings import Settings
from landscope.storage import RowStore, read_heading
from landscope.storage.archive import load
from landscope.study.folder import TRAINED, StudyFolder
from landscope.study.identity import digest_of_recording
from landscope.study.reach import STEP_FOLDERS, check_reach, missing_files, reason_against_rows
from landscope.study.settings import StudySettings, checked_settings
from landscope.training_history import TrainingHistory

__all__ = [
    "INITIAL", "PRECONDITIONER", "drop_training", "put_study_settings", "reason_to_train_again", "restore_settings",
]  # fmt: skip

PRECONDITIONER = "preconditioner"
INITIAL = "initial"
"""Key of the digest of the initial weights, among the facts of the training."""
_FACTS, _RUN = "training", "experiment.yaml"


def reason_to_train_again(folder: StudyFolder, start_key: str) -> str:
    """Why a training that has ended must be made again; empty where all that it left is there and whole.

    Args:
        folder: Folder of its study.
        start_key: Fact of the training that the analysis needs.
    """
    try:
        load(folder.file(_FACTS), TrainingHistory)
        facts = folder.read_note(_FACTS)
        if start_key not in facts:
            return "training.json, with what is known of the training, is missing"
        check_reach(folder)
        if reason := reason_against_rows(folder) or folder.reason_against(_FACTS):
            return f"the recording: {reason}"
        if lost := RowStore.open(folder.path / "trajectory").check():
            return str(lost[0][2])
        if missing := missing_files(folder):
            return "; ".join(f"{name} is {reason}" for name, reason in list(missing.items())[:3])
        for name in STEP_FOLDERS:
            for file in sorted((folder.path / name).glob("*.zarr.zip")):
                check_seal(file)
        if known := facts.get(PRECONDITIONER):
            check_seal(folder.file(PRECONDITIONER))
            if read_heading(folder.file(PRECONDITIONER)).digest != known:
                return "the scales of the optimiser are of another training"
    except StorageError as error:
        return f"{error.expected}: {error.got}"
    return ""


def drop_training(folder: StudyFolder) -> None:
    """Delete what a training left; its result goes first, so that a kill at any moment leaves one to be made again."""
    for name in TRAINED:
        folder.remove(name)
    kept = _initial(folder)
    (folder.path / f"{_FACTS}.json").unlink(missing_ok=True)
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
    known = _settings_of_training(path)
    if known is not None and not _is_run_of(path, known):
        content = {"purpose": "run", "settings": known.model_dump(mode="json")}
        write_yaml(path / _RUN, content)
    settings = known or _settings_in(path)
    if settings is not None:
        there = _study_settings(path)
        wanted = {**({} if there is None else there.model_dump()), **settings.analysis}
        put_study_settings(path, checked_settings(StudySettings, wanted))


def put_study_settings(path: Path, wanted: StudySettings) -> None:
    """Write the settings of the analysis, which follow from those of the run, unless they are there."""
    if _study_settings(path) != wanted:
        StudyFolder.write_settings(path, wanted)


def _settings_of_training(path: Path) -> Settings | None:
    """The settings that a finished training carries; None where there is none, or it is not that of the recording."""
    try:
        check_seal(path / f"{_FACTS}.zarr.zip")
        heading = read_heading(path / f"{_FACTS}.zarr.zip")
        if heading.identity["study"]["recording"] != digest_of_recording(path / "trajectory"):
            return None
        kept = heading.attributes["provenance"]["settings"]
        return Settings.of({name: kept[name] for name in Settings.model_fields})
    except (StorageError, KeyError, TypeError, ValueError):
        return None


def _settings_in(path: Path) -> Settings | None:
    try:
        content = read_yaml(path / _RUN, "the settings of a run")
        return Settings.of(content["settings"]) if content["purpose"] == "run" else None
    except (StorageError, KeyError, TypeError, ValueError):
        return None


def _is_run_of(path: Path, known: Settings) -> bool:
    """Whether the settings in a folder are those of its training, or it is no folder of a run."""
    try:
        content = read_yaml(path / _RUN, "the settings of a run")
    except StorageError:
        return False
    return content.get("purpose") != "run" or content.get("settings") == known.model_dump(mode="json")


def _study_settings(path: Path) -> StudySettings | None:
    """The settings of the analysis in a folder; None where they are lost."""
    try:
        return StudyFolder.open(path).settings
    except StorageError:
        return None
