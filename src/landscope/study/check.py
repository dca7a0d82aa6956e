"""Whether everything in the folder of a study is whole, what would be lost if not, and what makes it whole again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from landscope.errors import StorageError
from landscope.files.checked_json import read_checked
from landscope.storage import read_archive
from landscope.storage.archive import result_of
from landscope.storage.folder import ResultFolder
from landscope.study.centre import CENTRE, GIVE_AGAIN
from landscope.study.completeness import foreign_parts, missing_parts
from landscope.study.data_identity import DataIdentity
from landscope.study.folder import TRAINED, StudyFolder
from landscope.study.reach import STEP_FOLDERS
from landscope.study.remedies import Remedies, is_run, of_a_figure, remedies_of
from landscope.study.run_file import RUN_FILE, has_run_file, read_run_file
from landscope.study.whole_training import problems_of_training

__all__ = ["Damage", "check_study", "what_is_unknown"]


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
    found = [*_settings(path, remedies), *_notes(path, remedies)]
    for more in (
        lambda named: _training(path, remedies.record, named),
        lambda named: _archives(path, remedies, named),
        lambda named: _together(path, remedies, named),
    ):
        found += more({one.file for one in found})
    return found


def what_is_unknown(path: Path) -> list[str]:
    """What no check can compare, because the data of the study do not say it without being read to their end.

    Args:
        path: The folder of the study.

    Example:
        >>> import tempfile
        >>> from landscope.study.data_identity import identity_of_data
        >>> folder = StudyFolder.create(tempfile.mkdtemp(), {})
        >>> folder.note("training", {"data": dataclasses.asdict(identity_of_data(iter([]), collated=True))})
        >>> print(*what_is_unknown(folder.path))
        the data: they are a stream, which is read only by the analysis: they are known by their loss at three points
    """
    try:
        folder = StudyFolder.open(path)
        facts = folder.read_note("training")
    except StorageError:
        return []  # named as damaged
    data = DataIdentity.of(facts.get("data"))
    if data.unknown:
        return [f"the data: {data.unknown}"]
    if data.count is not None or is_run(path):
        return []
    return ["the data: nothing was noted of them when the training was recorded"]


def _together(path: Path, remedies: Remedies, named: set[str]) -> Iterator[Damage]:
    """What belongs to another study, and what is missing."""
    try:
        folder = StudyFolder.open(path)
        folder.read_note("training")
    except StorageError:
        return  # named already
    problems = [*foreign_parts(folder), *missing_parts(folder)]
    first = dict[str, str]()
    for file, problem in problems:
        first.setdefault(file, problem)
    for file, problem in first.items():
        if file in named:
            continue
        remedy = remedies.record if file == "study.yaml" and not is_run(path) else remedies.again
        yield Damage(file, problem, f"what {file} holds", GIVE_AGAIN if file == CENTRE else remedy)


def _settings(path: Path, remedies: Remedies) -> Iterator[Damage]:
    try:
        StudyFolder.open(path)
    except StorageError as error:
        yield Damage("study.yaml", error.got, "the settings of the analysis", remedies.again)
    try:
        if has_run_file(path):
            read_run_file(path)
    except StorageError as error:
        ended = (path / "training.zarr.zip").exists()
        remedy = remedies.again if ended else f"restore the file, or delete {path} and give landscope run again"
        yield Damage(RUN_FILE, error.got, "the settings of the training", remedy)


def _notes(path: Path, remedies: Remedies) -> Iterator[Damage]:
    for file in sorted(path.glob("*.json")):
        try:
            read_checked(file)
        except StorageError as error:
            remedy = remedies.record if file.name == "training.json" else remedies.again
            yield Damage(file.name, error.got, f"what {file.name} says", remedy)


def _training(path: Path, record: str, named: set[str]) -> Iterator[Damage]:
    for problem in problems_of_training(ResultFolder(path)):
        if problem.file not in named:
            remedy = f"{record}; {problem.kept}" if problem.kept else record
            yield Damage(problem.file, problem.error.got, problem.lost, remedy)


def _archives(path: Path, remedies: Remedies, named: set[str]) -> Iterator[Damage]:
    """Files that cannot be read; those that a training left and that another check has named are left out."""
    places = {".": "result", **STEP_FOLDERS}
    for place, what in places.items():
        for file in sorted((path / place).glob("*.zarr.zip")):
            relative = str(file.relative_to(path))
            try:
                if relative in named:
                    continue
                archive = read_archive(file)
                if place == "." and archive.kind != "training_state":
                    result_of(file, archive)
            except StorageError as error:
                yield _damaged_archive(relative, error.got, what, remedies)


def _damaged_archive(file: str, problem: str, what: str, remedies: Remedies) -> Damage:
    """A file that cannot be read: what is lost with it, and what makes it again."""
    if file == CENTRE:
        return Damage(file, problem, "the model that was given as w0", GIVE_AGAIN)
    if "/" in file:
        return Damage(file, problem, f"the {what} of this step", remedies.record)
    name = file.removesuffix(".zarr.zip")
    remedy = remedies.record if name in TRAINED else of_a_figure(name) or remedies.again
    return Damage(file, problem, f"the result {name}", remedy)
