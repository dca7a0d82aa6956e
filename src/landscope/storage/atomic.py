"""Files that are written completely or not at all."""

from __future__ import annotations

import contextlib
import json
import math
import os
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import Any

from landscope.errors import StorageError

__all__ = ["plain_values", "replaced_atomically", "write_json", "write_text"]


@contextlib.contextmanager
def replaced_atomically(path: Path) -> Generator[Path]:
    """Yield a temporary path; rename it to ``path`` after the block, or delete it if the block raises an error.

    Raises:
        StorageError: If the folder cannot be written or the disk is full; ``path`` is then unchanged.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise StorageError(
            expected=f"to write {path}",
            got=error.strerror or str(error),
            hint="Free space or choose another folder; the existing file is unchanged.",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, completely or not at all."""
    with replaced_atomically(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` to ``path`` as JSON, completely or not at all; NaN and infinity become null."""
    write_text(path, json.dumps(plain_values(value), indent=2) + os.linesep)


def plain_values(value: Any) -> Any:
    """Replace NaN and infinity, which JSON cannot represent, by None."""
    if isinstance(value, dict):
        return {key: plain_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
