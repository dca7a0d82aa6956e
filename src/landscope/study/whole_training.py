"""Whether all is there, and whole, that a training left in the folder of its study: the one place that decides it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from landscope.errors import StorageError
from landscope.files.seal import check_seal
from landscope.storage import RowStore, read_heading
from landscope.storage.archive import load
from landscope.storage.folder import ResultFolder
from landscope.study.folder import EVALUATED, TRAINED
from landscope.study.identity import STUDY, digest_of_recording, usual_identity
from landscope.study.reach import STEP_FOLDERS, check_facts, check_reach, missing_files
from landscope.study.step_files import StepFiles
from landscope.training_history import TrainingHistory
from landscope.trajectory.deltas import DeltaRows

__all__ = ["TrainingProblem", "check_rows", "problems_of_training", "reason_against_training"]

_NOTE, _HISTORY, _STATE, _SCALES = "training", *TRAINED
_RECORDING = "trajectory"


@dataclasses.dataclass(frozen=True)
class TrainingProblem:
    """A file that a training left and that is not whole, or not its own.

    Args:
        file: The file or folder, within the folder of the study.
        error: What was expected and what is there.
        lost: What is lost with it.
        kept: What can still be done without it; empty for nothing.
    """

    file: str
    error: StorageError
    lost: str
    kept: str = ""


def check_rows(folder: ResultFolder) -> None:
    """Raise unless the recording reaches as far as its training noted, and is that of its training; a quick look.

    Raises:
        StorageError: If it does not, or what is known of the training is missing.
    """
    check_reach(folder)
    if (folder.path / _RECORDING).exists():
        check_facts(folder)


def problems_of_training(folder: ResultFolder) -> Iterator[TrainingProblem]:
    """Read everything that a training left: its rows, its whole models, its facts and its results.

    Args:
        folder: The folder of the study; its settings need not be readable.
    """
    facts = None
    try:
        facts = folder.read_note(_NOTE)
    except StorageError as error:
        yield TrainingProblem(f"{_NOTE}.json", error, f"what {_NOTE}.json says")
    yield from _of_rows(folder)
    if facts is None:
        return  # nothing says what else there was
    yield from _of_reach(folder)
    yield from _of_step_files(folder)
    yield from _of_history(folder, is_evaluated=bool(facts.get(EVALUATED)))
    if known := facts.get(_SCALES):
        yield from _of_scales(folder, known)


def reason_against_training(folder: ResultFolder) -> str:
    """What is not whole of a training, in words; empty where all is."""
    problem = next(problems_of_training(folder), None)
    return f"{problem.file}: {problem.error.got}" if problem else ""


def _of_rows(folder: ResultFolder) -> Iterator[TrainingProblem]:
    path = folder.path / _RECORDING
    if not path.exists():
        return
    try:
        store = RowStore.open(path)
        steps = store.read("steps", 0, store.rows)
    except StorageError as error:
        yield TrainingProblem(_RECORDING, error, "the recording")
        return
    for first, last, error in [*store.check(), *_lost_in_full(store, path)]:
        lost = f"steps {steps[first]} to {steps[last - 1]} of {steps[0]} to {steps[-1]}"
        yield TrainingProblem(_RECORDING, error, lost, "whole windows outside of these steps can be analysed")


def _lost_in_full(store: RowStore, path: Path) -> list[tuple[int, int, StorageError]]:
    """Encoded rows that are lost with the row in full before them."""
    if "encoding" not in store.attributes:
        return []
    try:
        return DeltaRows(store, path).check()
    except StorageError as error:
        return [(0, store.rows, error)]


def _of_reach(folder: ResultFolder) -> Iterator[TrainingProblem]:
    """What the facts of the training say of its rows."""
    try:
        if (folder.path / _RECORDING).exists():
            RowStore.open(folder.path / _RECORDING)
    except StorageError:
        return  # named already
    try:
        check_reach(folder)
    except StorageError as error:
        yield TrainingProblem(_RECORDING, error, "rows that the training recorded")
        return
    try:
        if (folder.path / _RECORDING).exists():
            check_facts(folder)
    except StorageError as error:
        file = f"{_NOTE}.json" if _is_note_odd(folder) else _RECORDING
        yield TrainingProblem(file, error, f"what {file} holds")


def _is_note_odd(folder: ResultFolder) -> bool:
    """Whether the facts of the training are missing, or the results fit the rows and not the facts."""
    if not (folder.path / f"{_NOTE}.json").exists():
        return True
    made = usual_identity(folder, [name for name in folder.names() if name not in TRAINED])
    return made.get("recording") == digest_of_recording(folder.path / _RECORDING)


def _of_step_files(folder: ResultFolder) -> Iterator[TrainingProblem]:
    missing = missing_files(folder)
    for name, what in STEP_FOLDERS.items():
        files = StepFiles(folder.path / name)  # others, such as a model that was given as w0, no training left
        for file in sorted({*map(files.file, files.steps()), *_files(folder, missing, name)}):
            relative = f"{name}/{file.name}"
            try:
                if reason := missing.get(relative):
                    raise StorageError(expected=f"the {what} that the training left in {file}", got=reason, hint="")
                check_seal(file)
                read_heading(file)
            except StorageError as error:
                yield TrainingProblem(relative, error, f"the {what} of this step")


def _files(folder: ResultFolder, missing: dict[str, str], name: str) -> Iterator[Path]:
    return (folder.path / file for file in missing if file.startswith(f"{name}/"))


def _of_history(folder: ResultFolder, *, is_evaluated: bool) -> Iterator[TrainingProblem]:
    """The losses and errors that a training measured itself; those of the saved models are results of the analysis."""
    file, lost = folder.file(_HISTORY), "losses and errors during the training"
    try:
        if folder.has(_HISTORY):
            load(file, TrainingHistory)
            made = folder.heading(_HISTORY).identity.get(STUDY, {}).get("recording")
            if not is_evaluated and made != digest_of_recording(folder.path / _RECORDING):
                raise StorageError(expected=f"{file} of this training", got="made from another recording", hint="")
        elif _has_ended(folder) and not folder.has(_STATE):  # else the training is being made again
            raise StorageError(expected=f"the history of the training in {file}", got="missing", hint="")
    except StorageError as error:
        yield TrainingProblem(file.name, error, lost)


def _has_ended(folder: ResultFolder) -> bool:
    """Whether a built-in training has noted its end."""
    try:
        return "train" in folder.read_note("timings")
    except StorageError:
        return False


def _of_scales(folder: ResultFolder, known: str) -> Iterator[TrainingProblem]:
    file = folder.file(_SCALES)
    if not folder.is_whole(_SCALES) or folder.heading(_SCALES).digest != known:
        error = StorageError(
            expected=f"the scales of the optimiser of this training in {file}",
            got="missing, damaged, or of another training", hint="",
        )  # fmt: skip
        yield TrainingProblem(file.name, error, "the scales of the optimiser")
