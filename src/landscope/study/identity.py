"""What the results of a study are made from: the recorded rows, the whole models and the settings, as digests."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from landscope.errors import StorageError
from landscope.storage import RowStore, read_heading
from landscope.storage.digests import digest_of
from landscope.storage.folder import ResultFolder
from landscope.study.settings import StudySettings
from landscope.study.step_files import StepFiles
from landscope.trajectory.deltas import keys_path

__all__ = [
    "STUDY", "differ", "different", "digest_of_recording", "digest_of_settings", "identity_of", "made_from",
    "usual_identity",
]  # fmt: skip

STUDY = "study"
"""Key, in the identity of a result, of the digests of the study that it was made from."""
_WORDS = {
    "recording": "made from another recording",
    "models": "made from other whole models",
    "settings": "made under other settings",
}


def made_from(path: Path, settings: StudySettings) -> dict[str, Any]:
    """Digests of what every result of a study is made from; empty texts for what is not there.

    They are contents, not names: a study that was copied or moved keeps its results, and those of another seed do not
    fit.
    """
    return {
        "recording": digest_of_recording(path / "trajectory"),
        "models": _models(StepFiles(path / "checkpoints")),
        "settings": digest_of_settings(settings),
    }


def digest_of_settings(settings: StudySettings) -> str:
    """The digest of settings, as the results made under them keep it."""
    return digest_of(settings.model_dump(mode="json"))[:16]


def different(found: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> str:
    """In what two such mappings differ, in words; empty where they do not.

    A whole model that one of them lacks makes no difference: results outlive models that were deleted to save space.
    """
    if found is None:
        return "without the name of its study"
    return ", ".join(words for name, words in _WORDS.items() if differ(found.get(name), wanted[name]))


def usual_identity(folder: ResultFolder, names: Iterable[str]) -> dict[str, Any]:
    """What most of some results are made from; empty where none of them says it."""
    made = (identity_of(folder, name).get(STUDY) for name in names)
    counted = Counter(json.dumps(one, sort_keys=True) for one in made if one)
    return json.loads(counted.most_common(1)[0][0]) if counted else {}


def identity_of(folder: ResultFolder, name: str) -> dict[str, Any]:
    """What a result says that it was made from; empty where it is damaged."""
    try:
        return folder.heading(name).identity if folder.is_whole(name) else {}
    except StorageError:
        return {}


def differ(found: Any, wanted: Any) -> bool:
    """Whether two values of such a mapping differ."""
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        return any(found[step] != wanted[step] for step in found.keys() & wanted.keys())
    return found != wanted


def digest_of_recording(path: Path) -> str:
    """The digest of recorded rows; empty where they cannot be read."""
    try:
        return _digest_of_rows(path, _state(path / "committed.json"), _state(path / "latest.json"))
    except StorageError:
        return ""


@functools.lru_cache(maxsize=64)
def _digest_of_rows(path: Path, *_: Any) -> str:
    """The digest of the rows, by the checksums of their segments; read again where a marker has changed."""
    store = RowStore.open(path)
    described = {name: store.attributes.get(name) for name in ("names", "shapes", "precision")}
    in_full = [RowStore.open(keys_path(path)).sums] if "encoding" in store.attributes else []
    return digest_of([described, store.sums, *in_full])[:16]


def _models(files: StepFiles) -> dict[str, str]:
    """The digest of each whole model by its step."""
    paths = {step: files.file(step) for step in files.steps()}
    return {str(step): _digest_of_file(path, _state(path))[:16] for step, path in paths.items()}


@functools.lru_cache(maxsize=1024)
def _digest_of_file(path: Path, *_: Any) -> str:
    try:
        return read_heading(path).digest
    except StorageError:
        return ""


def _state(path: Path) -> tuple[int, ...] | None:
    """What changes when a file is written again."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_size
