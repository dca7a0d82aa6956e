"""A folder of results under one set of settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from landscope.errors import StorageError
from landscope.progress import Reporter
from landscope.reproduction.experiment.made_under import (
    EXPERIMENT,
    NUMBERS,
    are_settings_of_results,
    made_under,
    say_written_again,
)
from landscope.reproduction.experiment.settings import Settings
from landscope.results import Result
from landscope.storage.folder import ResultFolder
from landscope.study.identity import STUDY
from landscope.study.run_file import RUN_FILE, RunFile, has_run_file, read_run_file, write_run_file
from landscope.wording import first_lines

__all__ = ["ExperimentFolder", "Purpose"]

_NOTHING_DONE = {RUN_FILE, ".lock", "study.yaml", "timings.json", "training.json", f"{NUMBERS}.json"}
Purpose = Literal["run", "continual"]
"""Purpose of a folder: one training and its analysis, or tasks one after another."""
AnyResult = TypeVar("AnyResult", bound=Result)


class ExperimentFolder(ResultFolder):
    """Results of one set of settings. Make one with :meth:`create` or :meth:`open`.

    Args:
        path: The folder.
        settings: Settings of all results in it.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        super().__init__(path)
        self.settings = settings
        self.purpose: Purpose = "run"

    @property
    def _told(self) -> RunFile:
        """What the file of the settings says."""
        return _told(self.settings, self.purpose)

    def save(self, name: str, result: Result, identity: Mapping[str, Any] | None = None) -> None:
        """Write a result with what it was made under; a result of the same name is replaced."""
        super().save(name, result, {**(identity or {}), EXPERIMENT: made_under(self, self._told, name)})

    def load(self, name: str, kind: type[AnyResult]) -> AnyResult:
        """Read a result.

        Raises:
            StorageError: If it is missing, damaged, of another kind, or was made under other settings.
        """
        if self.has(name) and (reason := self.reason_against(name)):
            raise StorageError(
                expected=f"{self.file(name).name} of the experiment in {self.path}", got=f"a result {reason}",
                hint="Give the command that made it again: it makes the result again.",
            )  # fmt: skip
        return super().load(name, kind)

    def fits(self, name: str) -> bool:
        """Whether a result is there, whole, and one of this experiment."""
        return self.is_whole(name) and not self.reason_against(name)

    def reason_against(self, name: str) -> str:
        """Why a result was not made in this experiment, in words; a study compares its own results itself."""
        found = self.heading(name).identity
        if STUDY in found:
            return ""
        return "" if found.get(EXPERIMENT) == made_under(self, self._told, name) else "made under other settings"

    def to_make(self, name: str, reporter: Reporter) -> bool:
        """Whether a result has to be made; that of a file which is there is announced, with the reason."""
        if self.fits(name):
            return False
        if self.has(name):
            reason = self.reason_against(name) if self.is_whole(name) else "damaged"
            reporter.note(f"[yellow]{name} is made again:[/yellow] the file is {reason}")
        return True

    @classmethod
    def create(cls, path: str | Path, settings: Settings, purpose: Purpose = "run") -> ExperimentFolder:
        """Create a folder, or open the folder that is there if it has the same settings.

        Raises:
            StorageError: If the folder holds results under other settings or other files, or cannot be written.
        """
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise StorageError(expected=f"a folder at {path}", got="a file", hint="Choose another --out.")
        cls._write_lost_settings(path, settings, purpose)
        if has_run_file(path):
            folder = ExperimentFolder.open(path, purpose)  # of a run whose study was not made yet, too
            asked, there = settings.model_dump(mode="json"), folder.settings.model_dump(mode="json")
            different = [
                f"{name}: {there[name]} there, {asked[name]} asked" for name in asked if asked[name] != there[name]
            ]
            if not different:
                return folder
            if not {entry.name for entry in path.iterdir()} <= _NOTHING_DONE:
                raise StorageError(
                    expected=f"the settings of the run in {path}",
                    got="; ".join(different),
                    hint="Choose another folder with --out, or repeat its own settings to continue it.",
                )
            (path / "study.yaml").unlink(missing_ok=True)  # there are no results yet that need the old settings
        elif path.exists() and any(path.iterdir()):
            raise StorageError(
                expected=f"an empty folder or a run at {path}", got="other files", hint="Choose another --out."
            )
        write_run_file(path, purpose, settings.model_dump(mode="json"))
        folder = cls(path, settings)
        folder.purpose = purpose
        return folder

    @classmethod
    def _write_lost_settings(cls, path: Path, settings: Settings, purpose: Purpose) -> None:
        """Write the settings again where their file is lost and the results were made under the same."""
        told = _told(settings, purpose)
        if not path.exists() or not are_settings_of_results(path, told):
            return
        try:
            is_there = read_run_file(path) == told
        except StorageError:
            is_there = False
        if not is_there:
            say_written_again(path / RUN_FILE)
            write_run_file(path, told.purpose, told.settings)

    @classmethod
    def open(cls, path: str | Path, purpose: Purpose = "run") -> ExperimentFolder:
        """Open the folder at ``path``.

        Raises:
            StorageError: If there is no such folder, or it is damaged or has another purpose.
        """
        path = Path(path)
        if not has_run_file(path):
            if (path / "study.yaml").exists():
                raise StorageError(
                    expected=f"a run of landscope run at {path}",
                    got="a study of another model",
                    hint="Name the function that makes it: --study module:function.",
                )
            hint = (
                "Check the path. landscope run trains a built-in network; a study of your own model needs --study "
                "module:function, and landscope import takes checkpoints that you have."
            )
            raise StorageError(expected=f"a run at {path}", got=f"no {RUN_FILE}", hint=hint)
        found = read_run_file(path)
        try:
            settings, there = Settings.of(found.settings), found.purpose
        except (TypeError, ValueError) as error:
            raise StorageError(
                expected=f"the settings of a run in {path / RUN_FILE}",
                got=first_lines(error),
                hint="The file is damaged. Restore it, or start anew in another folder.",
            ) from error
        if there != purpose:
            raise StorageError(
                expected=f"a folder of landscope {purpose} at {path}",
                got=f"one of landscope {there}",
                hint="Choose another folder; this one is left as it is.",
            )
        folder = cls(path, settings)
        folder.purpose = purpose
        return folder


def _told(settings: Settings, purpose: Purpose) -> RunFile:
    return RunFile(purpose, settings.model_dump(mode="json"))
