"""The folder of a study: its settings, facts about the training, and its results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from landscope._checks import check_path
from landscope._version import __version__
from landscope.errors import InputError, LandscopeWarning, StorageError
from landscope.files.atomic import plain_values
from landscope.files.plain_yaml import read_yaml, write_yaml
from landscope.notices import warn
from landscope.results import Result
from landscope.storage.folder import ResultFolder
from landscope.study.identity import STUDY, different, digest_of_settings, made_from
from landscope.study.remedies import is_run, remedies_of
from landscope.study.run_file import RUN_FILE
from landscope.study.settings import StudySettings, checked_settings
from landscope.wording import first_lines

__all__ = ["EVALUATED", "TRAINED", "StudyFolder"]

_FORMAT = 3
_FILE = "study.yaml"
TRAINED = ("training", "training-state", "preconditioner")
"""Results that a training leaves, not an analysis."""
EARLIER = ("training-state", "preconditioner")
"""Those of them that are made before the recording is complete."""
_MADE_WITH = "made_with"
_BEFORE_SETTINGS = "timings"
"""Note that is begun by a training, whose settings of the analysis may change until there is a result."""
AnyResult = TypeVar("AnyResult", bound=Result)
_NO_RESULTS = {
    _FILE,
    "timings.json",
    "training.json",
    "trajectory",
    "checkpoints",
    "second-moments",
    "monitor",
    RUN_FILE,
    "numbers.json",
    *(f"{name}.zarr.zip" for name in TRAINED),
}
"""What a training leaves in the folder; while there is nothing else, the settings may change."""
_NOTES_OF_RESULTS = (
    "timings", "not-measured", "continued", "continued-ends", "continued-steps", "summary",
)  # fmt: skip
"""Notes that an analysis leaves."""
EVALUATED = "history_is_evaluated"
"""Fact of a training whose losses were measured on its saved models, by the analysis."""
_FACTS = "training"
"""Note of the training, which cannot be made again."""


def _entries(path: Path) -> set[str]:
    """Names in a folder, without hidden ones: locks, and what a killed process has left half-written."""
    return {entry.name for entry in path.iterdir() if not entry.name.startswith(".")}


def _checked_folder(path: Any) -> Path:
    path = check_path("the folder of a study", path)
    if path.exists() and not path.is_dir():
        raise StorageError(expected=f"a folder at {path}", got="a file", hint="Choose another folder.")
    return path


def _readable(folder: ResultFolder) -> list[str]:
    """Names of the results of an analysis whose headings can be read."""
    return [name for name in folder.names() if name not in TRAINED and folder.is_whole(name)]


def _differences(there: StudySettings, asked: StudySettings) -> str:
    ours, theirs = asked.model_dump(), there.model_dump()
    return "; ".join(f"{name}: {theirs[name]} there, {ours[name]} asked" for name in ours if ours[name] != theirs[name])


class StudyFolder(ResultFolder):
    """The folder of one study. Make it with :meth:`create`, or read one with :meth:`open`.

    Args:
        path: The folder.
        settings: Settings of the analysis.
    """

    def __init__(self, path: Path, settings: StudySettings) -> None:
        super().__init__(path)
        self.settings = settings
        self.made_with: dict[str, Any] = {}
        """Numbers by which the loss, the data and the functions of the user are known; every result keeps them."""

    @property
    def has_results(self) -> bool:
        """Whether an analysis has saved anything."""
        return not _entries(self.path) <= _NO_RESULTS

    def check_no_results(self) -> None:
        """Raise if the recording already has results, which another recording would contradict."""
        if self.has_results:
            raise StorageError(
                expected=f"a study without results in {self.path}",
                got=f"results of {', '.join(self.timings()) or 'an analysis'}",
                hint="To go on with this training call study.discard_results() first; otherwise choose another folder.",
            )

    def drop_results(self) -> None:
        """Delete every result of the analysis; the recording and the whole models stay."""
        with self.locked():
            self.drop_evaluated_history()
            for name in self.names():
                if name not in TRAINED:
                    self.remove(name)
            for note in _NOTES_OF_RESULTS:
                self.remove_note(note)
            (self.path / "report.html").unlink(missing_ok=True)

    def _check_there(self) -> None:
        """Raise if the folder was deleted: writing would make one without the rest of the study."""
        if not (self.path / _FILE).exists():
            raise StorageError(
                expected=f"the study in {self.path}", got=f"no {_FILE}",
                hint="The folder was deleted or moved in the meantime. Begin again, and leave it where it is.",
            )  # fmt: skip

    def save(self, name: str, result: Result, identity: Mapping[str, Any] | None = None) -> None:
        """Write a result with what it was made from, whole or not at all; a result of the same name is replaced.

        Args:
            name: Name of the result.
            result: The result.
            identity: What it was made from, beside the recording, the whole models and the settings of this study.

        Raises:
            StorageError: If the folder was deleted or cannot be written.
        """
        self._check_there()
        of_study = {STUDY: made_from(self.path, self.settings), _MADE_WITH: plain_values(self.made_with)}
        super().save(name, result, {**(identity or {}), **of_study})

    def made_with_of(self, name: str) -> dict[str, Any]:
        """What a whole result was made with, of the user's loss, data and functions."""
        return self.heading(name).identity.get(_MADE_WITH, {})

    def made_with_of_note(self, name: str) -> dict[str, Any]:
        """The same of a note of results; empty where there is none."""
        return ResultFolder.read_note(self, name).get(STUDY, {}).get(_MADE_WITH, {})

    def load(self, name: str, kind: type[AnyResult]) -> AnyResult:
        """Read a result of this study.

        Raises:
            StorageError: If the result is missing, damaged, of another kind, or was made from another recording, other
                whole models or under other settings.
        """
        reason = self.reason_against(name)
        if reason:
            raise StorageError(
                expected=f"{self.file(name).name} of the study in {self.path}",
                got=f"a result {reason}",
                hint=self._made_again(),
            )
        return super().load(name, kind)

    def fits(self, name: str) -> bool:
        """Whether a result is there, whole, and one of this study."""
        return self.is_whole(name) and not self.reason_against(name)

    def reason_against(self, name: str) -> str:
        """Why a result that is there is not one of this study, in words; empty where it is, or is not there."""
        if not self.has(name) or name in EARLIER:
            return ""
        found, wanted = self.heading(name).identity.get(STUDY), made_from(self.path, self.settings)
        if name == _FACTS and not self.has_evaluated_history:  # what a training measured depends on no setting
            wanted = {**wanted, **{key: (found or {}).get(key, "") for key in ("models", "settings")}}
        return different(found, wanted)

    def note(self, name: str, values: dict[str, Any], *, durable: bool = False) -> None:
        """Write a JSON file; NaN and infinity become null. Notes of results name their study, as results do.

        Raises:
            StorageError: If the folder was deleted or cannot be written.
        """
        self._check_there()
        told = {**values, STUDY: self._identity_of(name)} if name in _NOTES_OF_RESULTS else values
        super().note(name, told, durable=durable or name == _FACTS)

    def read_note(self, name: str) -> dict[str, Any]:
        """Content of a JSON file; an empty mapping where there is none, or it is about results of another recording.

        Raises:
            StorageError: If the file is damaged or cannot be read.
        """
        try:
            found = super().read_note(name)
        except StorageError as error:
            raise StorageError(expected=error.expected, got=error.got, hint=self._way_on(name)) from error
        if name not in _NOTES_OF_RESULTS or not found:
            return found
        return found if self._is_own_note(name, found.pop(STUDY, None)) else {}

    def _made_again(self) -> str:
        return f"study.analyse(), or {remedies_of(self.path).again}, makes it again."

    def _way_on(self, note: str) -> str:
        """What makes a damaged note whole again."""
        if note in _NOTES_OF_RESULTS:
            return self._made_again()
        if is_run(self.path):
            return f"landscope analyse {self.path} makes it again; it trains again, with the same numbers."
        return f"Restore it from a copy, or record again. landscope check {self.path} says what is lost."

    def _identity_of(self, note: str) -> dict[str, Any]:
        made = made_from(self.path, self.settings)
        return {**made, **({"settings": ""} if note == _BEFORE_SETTINGS else {_MADE_WITH: self.made_with})}

    def _is_own_note(self, name: str, told: Any) -> bool:
        """Whether what a note tells of its study fits this one."""
        return isinstance(told, dict) and not different(told, self._identity_of(name))

    def notes(self) -> list[str]:
        """Names of the notes of an analysis that are there."""
        return [name for name in _NOTES_OF_RESULTS if (self.path / f"{name}.json").exists()]

    def is_of_this_study(self, note: str) -> bool:
        """Whether a note of an analysis is about results of this recording, under these settings."""
        return self._is_own_note(note, ResultFolder.read_note(self, note).get(STUDY))

    def drop_damaged_notes(self) -> list[str]:
        """Delete notes of an analysis that are damaged, which the analysis makes again; their names."""
        damaged = []
        for name in self.notes():
            try:
                self.read_note(name)
            except StorageError:
                damaged.append(f"{name}.json")
                self.remove_note(name)
        return damaged

    def note_evaluated_history(self) -> None:
        """Note that the losses during the training come from the saved models, not from the training."""
        self.change_note(_FACTS, {EVALUATED: True})

    @property
    def has_evaluated_history(self) -> bool:
        """Whether the losses during the training come from the saved models."""
        return bool(self.read_note(_FACTS).get(EVALUATED))

    def drop_evaluated_history(self) -> None:
        """Delete losses that were measured on saved models; those of the training stay."""
        if self.has_evaluated_history:
            self.remove(_FACTS)
            self.change_note(_FACTS, {EVALUATED: None})

    @classmethod
    def create(cls, path: str | Path, given: dict[str, Any]) -> StudyFolder:
        """Open the study in a folder, or begin one.

        Settings may change until the first result is saved; later, others are refused.

        Args:
            path: The folder.
            given: The settings that the caller names; the others keep the values in the folder, or the defaults.

        Raises:
            InputError: If a setting is unknown or does not fit.
            StorageError: If the folder holds something else, or results under other settings.
        """
        path = _checked_folder(path)
        if cls._settings_to_write(path, given) is None:
            return cls.open(path)
        with ResultFolder(path).locked():  # another process may have begun to compute in the meantime
            settings = cls._settings_to_write(path, given)
            return cls.open(path) if settings is None else cls.write_settings(path, settings)

    @classmethod
    def _settings_to_write(cls, path: Path, given: dict[str, Any]) -> StudySettings | None:
        """The settings of a new study, or those that replace the ones of a study without results; else None."""
        if not (path / _FILE).exists():
            if path.exists() and not _entries(path) <= _NO_RESULTS:
                if (path / f"{_FACTS}.json").exists():
                    return cls._settings_again(path, given, f"no {_FILE}")
                older = "a run of an earlier version of landscope" if (path / "run.yaml").exists() else "other files"
                raise StorageError(
                    expected=f"an empty folder or a study at {path}", got=older, hint="Choose another folder."
                )
            return checked_settings(StudySettings, given)
        try:
            there = cls.open(path).settings
        except StorageError as error:
            if not (path / f"{_FACTS}.json").exists():
                raise
            return cls._settings_again(path, given, error.got)
        asked = checked_settings(StudySettings, {**there.model_dump(), **given})
        if asked == there:
            return None
        if _entries(path) <= _NO_RESULTS:
            return asked
        raise StorageError(
            expected=f"the settings of the study in {path}",
            got=_differences(there, asked),
            hint="Repeat its own settings, call study.discard_results() first, or choose another folder.",
        )

    @classmethod
    def _settings_again(cls, path: Path, given: dict[str, Any], got: str) -> StudySettings:
        """The settings that the caller names, where their file is lost and the results were made under the same."""
        asked = checked_settings(StudySettings, given)
        results = ResultFolder(path)
        made = {results.heading(name).identity.get(STUDY, {}).get("settings") for name in _readable(results)}
        if made - {None, digest_of_settings(asked)}:
            raise StorageError(
                expected=f"the settings of the study in {path / _FILE}",
                got=f"{got}; and the settings that are named now are not those of the results",
                hint="Restore the file, or name every setting in ls.Study(...) as it was. To measure everything again "
                "under other settings, delete the results (*.zarr.zip).",
            )
        warn(
            f"{path / _FILE} could not be read ({got}). The settings that are named now take its place"
            + (": the results were made under the same." if made else "."),
            LandscopeWarning,
        )
        return asked

    def check_settings(self) -> None:
        """Raise if another process has changed the settings since this study was opened."""
        there = self.open(self.path).settings
        if there != self.settings:
            raise StorageError(
                expected=f"the settings with which the study in {self.path} was opened",
                got=_differences(there, self.settings),
                hint="Another process has changed them. Open the study again, with the settings that you want.",
            )

    @classmethod
    def write_settings(cls, path: Path, settings: StudySettings) -> StudyFolder:
        """Write the settings of a study, whatever was there."""
        heading = {"format": _FORMAT, "landscope": __version__, "torch": str(torch.__version__)}
        write_yaml(path / _FILE, {**heading, "settings": settings.model_dump(mode="json")})
        return cls(path, settings)

    @classmethod
    def open(cls, path: str | Path) -> StudyFolder:
        """Read the study at ``path``.

        Raises:
            StorageError: If there is none, or it is damaged or of another version.
        """
        path = _checked_folder(path)
        if not (path / _FILE).exists():
            older = "a run of an earlier version" if (path / "run.yaml").exists() else f"no {_FILE}"
            raise StorageError(
                expected=f"a study at {path}",
                got=older,
                hint='Check the path. ls.Study("folder", model, ...) makes a study; landscope run trains one.',
            )
        content = read_yaml(path / _FILE, "the settings of a study")
        if content.get("format") != _FORMAT:
            raise StorageError(
                expected=f"a study of format {_FORMAT} in {path}",
                got=f"format {str(content.get('format'))[:20]}",
                hint="Use the version of landscope that wrote it, or record again.",
            )
        try:
            if not isinstance(content["settings"], Mapping):
                raise TypeError(f"{type(content['settings']).__name__} in place of settings")
            settings = checked_settings(StudySettings, content["settings"])
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(
                expected=f"settings that this version of landscope knows in {path / _FILE}",
                got=error.got if isinstance(error, InputError) else first_lines(error),
                hint=f"The file is whole; landscope {str(content.get('landscope'))[:20]} wrote it. Use that version, "
                "or record again in another folder.",
            ) from error
        return cls(path, settings)

    def note_time(self, stage: str, seconds: float) -> None:
        """Keep how long a stage took in the process that finished it."""
        self.change_note("timings", {stage: round(seconds, 2)})

    def timings(self) -> dict[str, float]:
        """Seconds of each stage that is done."""
        return self.read_note("timings")
