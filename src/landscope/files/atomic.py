"""Files that are written completely or not at all, and that a power cut cannot take away where that matters."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import Any

from landscope.errors import StorageError

__all__ = [
    "flush_file",
    "flush_folder",
    "left_over",
    "make_folder",
    "partial_name",
    "plain_values",
    "remove_abandoned",
    "replaced_atomically",
    "write_json",
    "write_text",
]

_PARTIAL = ".partial"
_ABANDONED_SECONDS = 3600


def partial_name(path: Path) -> Path:
    """A hidden name beside ``path`` for a file or folder that is not whole yet."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}{_PARTIAL}")


def left_over(folder: Path) -> list[Path]:
    """What killed writers have left half-written in a folder; nobody reads it."""
    return sorted(folder.glob(f".*{_PARTIAL}")) if folder.is_dir() else []


def remove_abandoned(folder: Path) -> None:
    """Delete files that killed writers left half-written, and that nobody has touched for an hour."""
    for file in left_over(folder):
        with contextlib.suppress(OSError):
            if time.time() - file.stat().st_mtime > _ABANDONED_SECONDS:
                file.unlink()


def flush_file(path: Path) -> None:
    """Wait until the content of a file is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def flush_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can do that."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder if it is not there.

    Raises:
        StorageError: If something else is there, or files cannot be made in it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        reason = None if os.access(path, os.W_OK | os.X_OK) else "no permission to write there"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason is not None:
        raise StorageError(expected=f"a folder at {path}", got=reason, hint="Choose a folder you can write to.")


@contextlib.contextmanager
def replaced_atomically(path: Path, *, durable: bool = False) -> Generator[Path]:
    """Yield a temporary path; rename it to ``path`` after the block, or delete it if the block raises an error.

    Args:
        path: File to write.
        durable: Whether the content is on the disk before the name is, and the name before this returns. Needed for
            what cannot be computed again: a file that can be has a checksum, and is made again where it is damaged.

    Raises:
        StorageError: If the folder cannot be written or the disk is full; ``path`` is then unchanged.
    """
    partial = partial_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        if durable:
            flush_file(partial)
        partial.replace(path)
        if durable:
            flush_folder(path.parent)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            expected=f"to write {path}",
            got=error.strerror or str(error),
            hint="Free space or choose another folder; the existing file is unchanged.",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Write ``text`` to ``path``, completely or not at all."""
    with replaced_atomically(path, durable=durable) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, *, durable: bool = False) -> None:
    """Write ``value`` to ``path`` as JSON, completely or not at all; NaN and infinity become null."""
    write_text(path, json.dumps(plain_values(value), indent=2) + os.linesep, durable=durable)


def plain_values(value: Any) -> Any:
    """Replace NaN and infinity, which JSON cannot represent, by None."""
    if isinstance(value, dict):
        return {key: plain_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
