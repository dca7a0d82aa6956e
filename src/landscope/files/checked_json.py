"""JSON files with a checksum of their own content, read within limits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import google_crc32c

from landscope.errors import StorageError
from landscope.files.atomic import plain_values, write_text
from landscope.files.seal import open_regular

__all__ = ["crc_of", "read_checked", "read_limited", "write_checked"]

_MAX_BYTES = 2**26


def _text(values: Mapping[str, Any], indent: int | None) -> str:
    """The text of a JSON file, with the CRC-32C of the other values under ``crc``."""
    told = json.loads(json.dumps(plain_values(dict(values))))  # as a reader will find it
    return json.dumps({**told, "crc": crc_of(told)}, indent=indent) + "\n"


def write_checked(path: Path, values: Mapping[str, Any], *, durable: bool = True, indent: int | None = None) -> None:
    """Write a JSON file with its checksum, completely or not at all; NaN and infinity become null."""
    write_text(path, _text(values, indent), durable=durable)


def read_limited(path: Path, limit: int = _MAX_BYTES) -> str:
    """The text of a regular file of bounded size.

    Raises:
        StorageError: If it is missing, larger, no regular file, or no text.
    """
    with open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise StorageError(expected=f"at most {limit >> 10} kB in {path}", got="more", hint="The file is not ours.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StorageError(
            expected=f"text in {path}", got="other bytes", hint="The file is damaged or foreign."
        ) from error


def read_checked(path: Path) -> dict[str, Any]:
    """Read a JSON file of :func:`write_checked`.

    Raises:
        StorageError: If it is missing, or its content does not fit its checksum.
    """
    text = read_limited(path)
    try:
        values = json.loads(text)
        crc = values.pop("crc")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise _damaged(path, "no JSON of landscope") from error
    if type(crc) is not int or crc != crc_of(values):
        raise _damaged(path, "content that does not fit its checksum")
    return values


def crc_of(values: Mapping[str, Any]) -> int:
    """The CRC-32C of values that JSON can hold, whatever their order."""
    return google_crc32c.value(json.dumps(values, sort_keys=True).encode())


def _damaged(path: Path, got: str) -> StorageError:
    return StorageError(
        expected=f"a whole file at {path}",
        got=got,
        hint="The file is damaged, or was changed by hand. Restore it; without a copy, delete it: what it says is then "
        "not known.",
    )
