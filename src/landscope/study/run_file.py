"""The file with the settings of a training of a built-in network, in the folder of its study."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from landscope.errors import StorageError
from landscope.files.plain_yaml import read_yaml, write_yaml

__all__ = ["RUN_FILE", "RunFile", "has_run_file", "read_run_file", "write_run_file"]

RUN_FILE = "experiment.yaml"


@dataclasses.dataclass(frozen=True)
class RunFile:
    """What the file says.

    Args:
        purpose: ``"run"`` for one training and its analysis; another word for a folder that is no study.
        settings: The settings by name, which are not checked.
    """

    purpose: str
    settings: Mapping[str, Any]


def has_run_file(path: Path) -> bool:
    """Whether a folder has such a file, be it whole or not."""
    return (path / RUN_FILE).exists()


def read_run_file(path: Path) -> RunFile:
    """Read the settings of the training in a folder.

    Raises:
        StorageError: If there is no such file, or it is damaged.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_run_file(folder, "run", {"seed": 1})
        >>> read_run_file(folder)
        RunFile(purpose='run', settings={'seed': 1})
    """
    content = read_yaml(path / RUN_FILE, "the settings of a run")
    purpose, settings = content.get("purpose"), content.get("settings")
    if not isinstance(purpose, str) or not isinstance(settings, Mapping):
        raise StorageError(
            expected=f"the purpose and the settings of a training in {path / RUN_FILE}",
            got=", ".join(map(str, content))[:60] or "nothing",
            hint="The file is damaged. Restore it, or start anew in another folder.",
        )
    return RunFile(purpose, settings)


def write_run_file(path: Path, purpose: str, settings: Mapping[str, Any]) -> None:
    """Write the settings of the training in a folder."""
    write_yaml(path / RUN_FILE, {"purpose": purpose, "settings": dict(settings)})
