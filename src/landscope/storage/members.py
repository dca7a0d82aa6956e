"""What an archive may hold: plain arrays, each in one piece, of exactly the size that its description declares."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from landscope.errors import StorageError

__all__ = ["check_members"]

_ROOT = "zarr.json"
_MAX_TEXT = 2**26
"""Largest description in bytes; the provenance of a study takes a few thousand."""
_BYTES = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "float16": 2, "int32": 4, "uint32": 4, "float32": 4,
    "int64": 8, "uint64": 8, "float64": 8, "complex64": 8, "complex128": 16,
}  # fmt: skip
"""Size of a number by its zarr name."""


def check_members(path: Path) -> None:
    """Raise unless reading an archive allocates no more than its own size, and every piece of every array is there.

    Archives are written without compression, so a declared size that is not there is a lie, and is refused before
    anything is allocated.

    Raises:
        StorageError: If a member is compressed, missing, of another size than declared, or not of an archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {one.filename: one for one in archive.infolist()}
            _check_plain(archive.infolist(), path.stat().st_size)
            names = {name.removesuffix(f"/{_ROOT}") for name in members if name.endswith(f"/{_ROOT}")}
            pieces = {
                piece for name in names for piece in _pieces(name, _description(archive, f"{name}/{_ROOT}"), members)
            }
            _description(archive, _ROOT)
            unknown = set(members) - pieces - {_ROOT, *(f"{name}/{_ROOT}" for name in names)}
            if unknown:
                raise ValueError(f"a member {min(unknown)!r} that belongs to no array")
    except StorageError:
        raise
    except Exception as error:  # a damaged zip file may raise anything
        raise StorageError(
            expected=f"an archive of landscope at {path}",
            got=str(error) or type(error).__name__,
            hint="The file is damaged, incomplete or foreign; delete it and compute the result again.",
        ) from error


def _check_plain(members: list[zipfile.ZipInfo], size: int) -> None:
    if len({one.filename for one in members}) < len(members):
        raise ValueError("a member that is there twice")
    compressed = [one.filename for one in members if one.compress_type != zipfile.ZIP_STORED]
    if compressed:
        raise ValueError(f"a compressed member {compressed[0]!r}")
    if sum(one.file_size for one in members) > size or any(one.file_size != one.compress_size for one in members):
        raise ValueError("members that are larger than the file")


def _description(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    """What a ``zarr.json`` says."""
    if archive.getinfo(name).file_size > _MAX_TEXT:
        raise ValueError(f"a description {name!r} of more than {_MAX_TEXT >> 20} MB")
    content = json.loads(archive.read(name))
    if not isinstance(content, dict) or content.get("zarr_format") != 3:
        raise ValueError(f"a description {name!r} that is not of zarr format 3")
    return content


def _pieces(name: str, described: dict[str, Any], members: Mapping[str, zipfile.ZipInfo]) -> list[str]:
    """The member that holds the values of an array, with exactly the bytes that it needs; none where it is empty."""
    shape, size = described["shape"], _BYTES.get(str(described["data_type"]))
    if described.get("node_type") != "array" or size is None:
        raise ValueError(f"{name!r}, which is no array of numbers")
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"an array {name!r} of shape {str(shape)[:80]}")
    whole = [max(1, length) for length in shape]
    if described["chunk_grid"]["configuration"]["chunk_shape"] != whole or not _is_plain(described["codecs"]):
        raise ValueError(f"an array {name!r} that is cut or compressed")
    if 0 in shape:
        return []
    piece = "/".join([name, "c", *("0" for _ in shape)])
    found, needed = members[piece].file_size if piece in members else 0, size * math.prod(shape)
    if found != needed:
        raise ValueError(f"{found} of {needed} bytes of the array {name!r}")
    return [piece]


def _is_plain(codecs: Any) -> bool:
    """Whether the bytes are the numbers themselves, in the order in which NumPy writes them."""
    return codecs in ([{"name": "bytes"}], [{"name": "bytes", "configuration": {"endian": "little"}}])
