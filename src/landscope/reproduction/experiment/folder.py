"""A folder of results under one set of settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from landscope.errors import StorageError
from landscope.reproduction.experiment.settings import Settings
from landscope.storage.folder import ResultFolder
from landscope.study.run_file import RUN_FILE, has_run_file, read_run_file, write_run_file
from landscope.wording import first_lines

__all__ = ["ExperimentFolder", "Purpose", "check_same_numbers"]

NUMBERS = "numbers"
"""Name of the note of the numbers of a figure that are not settings."""
_NOTHING_DONE = {RUN_FILE, ".lock", "study.yaml", "timings.json", "training.json", f"{NUMBERS}.json"}
Purpose = Literal["run", "continual"]
"""Purpose of a folder: one training and its analysis, or tasks one after another."""


class ExperimentFolder(ResultFolder):
    """Results of one set of settings. Make one with :meth:`create` or :meth:`open`.

    Args:
        path: The folder.
        settings: Settings of all results in it.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        super().__init__(path)
        self.settings = settings

    @classmethod
    def create(cls, path: str | Path, settings: Settings, purpose: Purpose = "run") -> ExperimentFolder:
        """Create a folder, or open the folder that is there if it has the same settings.

        Raises:
            StorageError: If the folder holds results under other settings or other files, or cannot be written.
        """
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise StorageError(expected=f"a folder at {path}", got="a file", hint="Choose another --out.")
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
        return cls(path, settings)

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
            hint = "Check the path. landscope run makes a run."
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
        return cls(path, settings)


def check_same_numbers(folder: ResultFolder, name: str, numbers: Mapping[str, Any]) -> None:
    """Compare numbers of a figure, which are not in the settings, with those of the results that are there.

    Where there are no results yet, the numbers are noted.

    Args:
        folder: Folder of the results.
        name: Begin of the names of the results.
        numbers: The numbers, as JSON can hold them.

    Raises:
        StorageError: If the results are of other numbers: they must not be mixed.
    """
    notes, now = folder.read_note(NUMBERS), json.loads(json.dumps(dict(numbers)))
    if not folder.names(name):
        folder.change_note(NUMBERS, {name: now})
        return
    before = notes.get(name, {})
    if changed := [key for key in now if before.get(key) != now[key]]:
        raise StorageError(
            expected=f"results of {', '.join(f'{key} {now[key]}' for key in changed)} in {folder.path}",
            got=f"some of {', '.join(f'{key} {before.get(key)}' for key in changed)}",
            hint="Choose another --out, or delete the runs they are in.",
        )
