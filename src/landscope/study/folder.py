"""The folder of a run: its settings, and one artefact a stage, each whole or absent."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any, Literal, TypeVar

import filelock
import torch
import yaml

from landscope._version import __version__
from landscope.errors import InputError, StorageError
from landscope.reproduction.experiment.settings import Settings
from landscope.results import Result
from landscope.storage.archive import load, save
from landscope.storage.atomic import write_json, write_text

__all__ = ["RunFolder"]

_FORMAT = 1
_SETTINGS = "run.yaml"
Purpose = Literal["run", "continual"]
"""What a folder is for: one training and what it says, or tasks in turn."""
_SUFFIX = ".zarr.zip"
AnyResult = TypeVar("AnyResult", bound=Result)


class RunFolder:
    """One run. Make it with :meth:`create`, which goes on with a run of the same settings, or :meth:`open`.

    Args:
        path: The folder.
        settings: What the run was asked for.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path, self.settings = path, settings

    @classmethod
    def create(cls, path: str | Path, settings: Settings, purpose: Purpose = "run") -> RunFolder:
        """A new run, or the run that is there if it has the same settings.

        Args:
            path: The folder.
            settings: What is asked for.
            purpose: What the folder is for; it serves no other.

        Raises:
            StorageError: If the folder holds a run of other settings, something else, or cannot be written.
        """
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise StorageError(expected=f"a folder at {path}", got="a file", hint="Choose another --out.")
        if (path / _SETTINGS).exists():
            run = cls.open(path, purpose)
            if {entry.name for entry in path.iterdir()} <= {_SETTINGS, ".lock", "timings.json"}:
                return cls._begun(path, settings, purpose)  # nothing was done yet: a start that failed binds nobody
            ours, theirs = settings.model_dump(mode="json"), run.settings.model_dump(mode="json")
            different = [
                f"{name}: {theirs[name]} there, {ours[name]} asked" for name in ours if ours[name] != theirs[name]
            ]
            if different:
                raise StorageError(
                    expected=f"the settings of the run in {path}",
                    got="; ".join(different),
                    hint="Choose another folder with --out, or repeat the run's own settings to go on with it.",
                )
            return run
        if path.exists() and any(path.iterdir()):
            raise StorageError(
                expected=f"an empty folder or a run at {path}", got="other files", hint="Choose another --out."
            )
        return cls._begun(path, settings, purpose)

    @classmethod
    def _begun(cls, path: Path, settings: Settings, purpose: Purpose) -> RunFolder:
        heading = {"format": _FORMAT, "purpose": purpose, "landscope": __version__, "torch": str(torch.__version__)}
        content = {**heading, "settings": settings.model_dump(mode="json")}
        write_text(path / _SETTINGS, yaml.safe_dump(content, sort_keys=False))
        return cls(path, settings)

    @classmethod
    def open(cls, path: str | Path, purpose: Purpose = "run") -> RunFolder:
        """The run at ``path``.

        Raises:
            StorageError: If there is none, it is for something else, or it is damaged or of a newer format.
        """
        path = Path(path)
        try:
            content = yaml.safe_load((path / _SETTINGS).read_text(encoding="utf-8"))
            number, settings = int(content["format"]), Settings.of(content["settings"])
        except FileNotFoundError:
            raise StorageError(
                expected=f"a run at {path}", got=f"no {_SETTINGS}", hint="landscope run makes one; check the path."
            ) from None
        except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, InputError) and int(content["format"]) > _FORMAT:
                number = int(content["format"])
            else:
                raise StorageError(
                    expected=f"the settings of a run in {path / _SETTINGS}",
                    got=str(error).splitlines()[0],
                    hint="The file is damaged; start a new run.",
                ) from error
        if number > _FORMAT:
            raise StorageError(
                expected=f"format {_FORMAT} or older in {path}", got=f"format {number}", hint="Upgrade landscope."
            )
        if (there := content.get("purpose", "run")) != purpose:
            raise StorageError(
                expected=f"a folder of landscope {purpose} at {path}", got=f"one of landscope {there}",
                hint="Choose another folder; that one is left as it is.",
            )  # fmt: skip
        return cls(path, settings)

    @contextlib.contextmanager
    def locked(self) -> Generator[None]:
        """Keep a second process out while this one works on the run; the lock ends with the process."""
        try:
            with filelock.FileLock(self.path / ".lock", timeout=0):
                yield
        except filelock.Timeout:
            raise StorageError(
                expected=f"to work on {self.path} alone",
                got="another process at work on it",
                hint="Wait for it, or choose another --out.",
            ) from None
        except PermissionError as error:
            raise StorageError(
                expected=f"to write in {self.path}", got=str(error.strerror), hint="Choose a folder you can write to."
            ) from error

    def names(self, prefix: str = "") -> tuple[str, ...]:
        """Names of the artefacts that begin so."""
        return tuple(sorted(path.name.removesuffix(_SUFFIX) for path in self.path.glob(f"{prefix}*{_SUFFIX}")))

    def file(self, name: str) -> Path:
        """Where the artefact ``name`` lies."""
        return self.path / f"{name}{_SUFFIX}"

    def has(self, name: str) -> bool:
        """Whether the artefact ``name`` is there."""
        return self.file(name).exists()

    def load(self, name: str, kind: type[AnyResult]) -> AnyResult:
        """Read an artefact.

        Raises:
            StorageError: If it is missing or damaged; its stage makes it again once the file is gone.
        """
        if not self.has(name):
            raise StorageError(
                expected=f"{self.file(name)}",
                got="none",
                hint=f"Give the command of its stage: landscope modes, flatness, law, noise or controls {self.path}.",
            )
        return load(self.file(name), kind)

    def save(self, name: str, result: Result) -> None:
        """Write an artefact, whole or not at all."""
        save(result, self.file(name), overwrite=True)

    def note_time(self, stage: str, seconds: float) -> None:
        """Remember how long a stage took in the process that finished it."""
        write_json(self.path / "timings.json", {**self.timings(), stage: round(seconds, 2)})

    def timings(self) -> dict[str, float]:
        """Seconds of each stage that is done."""
        return self._json("timings.json")

    def note(self, name: str) -> dict[str, Any]:
        """What a JSON file of the run says; nothing where there is none."""
        return self._json(name)

    def summary(self) -> dict[str, Any]:
        """The run's numbers, written by the law stage."""
        return self._json("summary.json")

    def _json(self, name: str) -> dict[str, Any]:
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
