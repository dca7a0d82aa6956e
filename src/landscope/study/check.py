"""Whether everything in the folder of a study is whole, what would be lost if not, and what makes it whole again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from landscope.errors import StorageError
from landscope.files.checked_json import read_checked
from landscope.files.plain_yaml import read_yaml
from landscope.storage import RowStore, read_archive
from landscope.storage.archive import result_of
from landscope.study.centre import CENTRE, GIVE_AGAIN
from landscope.study.completeness import foreign_parts, missing_parts
from landscope.study.folder import TRAINED, StudyFolder
from landscope.study.reach import STEP_FOLDERS, check_reach
from landscope.study.remedies import Remedies, is_run, of_a_figure, remedies_of

__all__ = ["Damage", "check_study"]

_REPORTS = ("numbers.json",)
"""Files that nothing reads back."""


@dataclasses.dataclass(frozen=True)
class Damage:
    """A file of a study that is not whole.

    Args:
        file: The file, within the folder.
        problem: What is wrong with it.
        lost: What is lost with it.
        remedy: What makes it whole again.
    """

    file: str
    problem: str
    lost: str
    remedy: str


def check_study(path: Path) -> list[Damage]:
    """Read every file of a study, and compare it with its checksum and with the others.

    Args:
        path: The folder of the study.

    Returns:
        What is damaged; empty where everything is whole.

    Example:
        >>> import tempfile
        >>> folder = StudyFolder.create(tempfile.mkdtemp(), {})
        >>> check_study(folder.path)
        []
        >>> _ = (folder.path / "modes.zarr.zip").write_bytes(b"half of a fi")
        >>> [(one.file, one.problem) for one in check_study(folder.path)]
        [('modes.zarr.zip', 'a file without a checksum at its end')]
    """
    remedies = remedies_of(path)
    again, record = remedies.again, remedies.record
    found = [*_settings(path, remedies)]
    found += _notes(path, remedies)
    found += _recording(path, record)
    found += _models(path, record)
    found += _results(path, again, record)
    named = {one.file for one in found}
    return [*found, *_together(path, remedies, named)]


def _together(path: Path, remedies: Remedies, named: set[str]) -> Iterator[Damage]:
    """What belongs to another study, and what is missing."""
    try:
        folder = StudyFolder.open(path)
        folder.read_note("training")
    except StorageError:
        return  # named already
    if (path / "training.json").exists() and "trajectory" not in named:
        try:
            check_reach(folder)
        except StorageError as error:
            named = {*named, "trajectory"}
            yield Damage("trajectory", error.got, f"rows: there were {error.expected[4:]}", remedies.record)
    problems = [*foreign_parts(folder), *missing_parts(folder)]
    first = dict[str, str]()
    for file, problem in problems:
        first.setdefault(file, problem)
    for file, problem in first.items():
        if file in named:
            continue
        trained = file.removesuffix(".zarr.zip") in TRAINED or "/" in file or file in ("trajectory", "training.json")
        remedy = remedies.record if trained or (file == "study.yaml" and not is_run(path)) else remedies.again
        yield Damage(file, problem, f"what {file} holds", GIVE_AGAIN if file == CENTRE else remedy)


def _settings(path: Path, remedies: Remedies) -> Iterator[Damage]:
    try:
        StudyFolder.open(path)
    except StorageError as error:
        yield Damage("study.yaml", error.got, "the settings of the analysis", remedies.again)
    file = path / "experiment.yaml"
    try:
        if file.exists():
            read_yaml(file, "the settings of a training")
    except StorageError as error:
        ended = (path / "training.zarr.zip").exists()
        remedy = remedies.again if ended else f"restore the file, or delete {path} and give landscope run again"
        yield Damage(file.name, error.got, "the settings of the training", remedy)


def _notes(path: Path, remedies: Remedies) -> Iterator[Damage]:
    for file in sorted(path.glob("*.json")):
        if file.name in _REPORTS:
            continue
        try:
            read_checked(file)
        except StorageError as error:
            remedy = remedies.record if file.name == "training.json" else remedies.again
            yield Damage(file.name, error.got, f"what {file.name} says", remedy)


def _recording(path: Path, record: str) -> Iterator[Damage]:
    if not (path / "trajectory").exists():
        return
    try:
        store = RowStore.open(path / "trajectory")
        steps = store.read("steps", 0, store.rows)
    except StorageError as error:
        yield Damage("trajectory", error.got, "the recording", record)
        return
    for first, last, error in store.check():
        lost = f"steps {steps[first]} to {steps[last - 1]} of {steps[0]} to {steps[-1]}"
        yield Damage("trajectory", error.got, lost, f"{record}; whole windows outside of these steps can be analysed")


def _models(path: Path, record: str) -> Iterator[Damage]:
    for folder, what in STEP_FOLDERS.items():
        for file in sorted((path / folder).glob("*.zarr.zip")):
            try:
                read_archive(file)
            except StorageError as error:
                name = f"{folder}/{file.name}"
                lost = "the model that was given as w0" if name == CENTRE else f"the {what} of this step"
                yield Damage(name, error.got, lost, GIVE_AGAIN if name == CENTRE else record)


def _results(path: Path, again: str, record: str) -> Iterator[Damage]:
    for file in sorted(path.glob("*.zarr.zip")):
        name = file.name.removesuffix(".zarr.zip")
        try:
            archive = read_archive(file)
            if archive.kind != "training_state":
                result_of(file, archive)
        except StorageError as error:
            remedy = record if name in TRAINED else of_a_figure(name) or again
            yield Damage(file.name, error.got, f"the result {name}", remedy)
