"""What a result of an experiment was made under: its settings and the numbers of its figure, as digests in its file."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from landscope.errors import LandscopeWarning, StorageError
from landscope.notices import warn
from landscope.storage import read_heading
from landscope.storage.digests import digest_of
from landscope.storage.folder import ResultFolder
from landscope.study.run_file import RunFile

__all__ = [
    "EXPERIMENT", "NUMBERS", "are_settings_of_results", "check_same_numbers", "known_numbers", "made_under",
    "say_written_again",
]  # fmt: skip

EXPERIMENT = "experiment"
"""Key of the digests among what identifies a result."""
NUMBERS = "numbers"
"""Name of the note of the numbers of a figure that are not settings."""
_SETTINGS = "settings"


def made_under(folder: ResultFolder, settings: RunFile, name: str) -> dict[str, str]:
    """Digests of what a result of a folder is made under.

    Args:
        folder: The folder.
        settings: Its purpose and settings.
        name: Name of the result.
    """
    numbers = {key: value for key, value in folder.read_note(NUMBERS).items() if name.startswith(key)}
    return {_SETTINGS: _digest(dataclasses.asdict(settings)), NUMBERS: _digest(numbers)}


def are_settings_of_results(path: Path, settings: RunFile) -> bool:
    """Whether most results in a folder were made under some settings, for the same purpose."""
    found = [one[_SETTINGS] for one in _identities(sorted(path.glob("*.zarr.zip")))]
    return bool(found) and Counter(found).most_common(1)[0][0] == _digest(dataclasses.asdict(settings))


def known_numbers(folder: ResultFolder, name: str) -> dict[str, Any]:
    """The numbers that :func:`check_same_numbers` noted; empty where there are none."""
    return folder.read_note(NUMBERS).get(name, {})


def check_same_numbers(folder: ResultFolder, name: str, numbers: Mapping[str, Any]) -> None:
    """Compare numbers of a figure, which are not in the settings, with those of the results that are there.

    The results themselves say what they were made under. The note of the numbers is written where there are no results
    yet, and again where it was lost.

    Args:
        folder: Folder of the results.
        name: Begin of the names of the results.
        numbers: The numbers, as JSON can hold them.

    Raises:
        StorageError: If the results are of other numbers: they must not be mixed.

    Warns:
        LandscopeWarning: If the note is lost and written again.
    """
    now = json.loads(json.dumps(dict(numbers)))
    try:
        notes = folder.read_note(NUMBERS)
    except StorageError:  # damaged: the results know the numbers
        notes = {}
    found = [one[NUMBERS] for one in _identities(map(folder.file, folder.names(name)))]
    if found and _digest({name: now}) not in found:
        before = notes.get(name, {})
        changed = [key for key in now if before.get(key) != now[key]] or list(now)
        there = [f"{key} {before[key]}" if key in before else f"another {key}" for key in changed]
        raise StorageError(
            expected=f"results of {', '.join(f'{key} {now[key]}' for key in changed)} in {folder.path}",
            got=f"some of {', '.join(there)}",
            hint="Choose another --out, or delete the results.",
        )
    if notes.get(name) != now:
        if found:
            say_written_again(folder.path / f"{NUMBERS}.json")
        folder.note(NUMBERS, {**notes, name: now})


def say_written_again(file: Path) -> None:
    """Say that a file which follows from the results was lost, and is written again."""
    warn(
        f"{file} is missing, damaged or of other results. It is written again: the results in the folder name what "
        "they were made under.",
        LandscopeWarning,
    )


def _identities(files: Iterable[Path]) -> list[dict[str, str]]:
    """What the results in some files were made under; those of a study, and damaged ones, are left out."""
    found = []
    for file in files:
        try:
            identity = read_heading(file).identity.get(EXPERIMENT)
        except StorageError:
            continue
        if isinstance(identity, dict) and {_SETTINGS, NUMBERS} <= identity.keys():
            found.append(identity)
    return found


def _digest(value: Any) -> str:
    return digest_of(value)[:16]
