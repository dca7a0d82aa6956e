"""A zarr group in a zip file, as zarr itself writes it: every array in one piece, without compression.

The format is written here because zarr takes several times as long for the small arrays of results, and to be imported;
a test compares every file with the one that zarr writes.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from landscope.storage.members import ROOT, checked_members, piece_of

__all__ = ["read_group", "write_group"]


def write_group(
    path: Path, attributes: Mapping[str, str | int], arrays: Mapping[str, tuple[Sequence[str], np.ndarray]]
) -> None:
    """Write a zip file of zarr format 3.

    Args:
        path: The file.
        attributes: Attributes of the group.
        arrays: Names of the axes, and values, by the name of the array.
    """
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(ROOT, _text({"attributes": dict(attributes), "zarr_format": 3, "node_type": "group"}))
        for name, (dims, values) in arrays.items():
            archive.writestr(f"{name}/{ROOT}", _text(_description(values, dims)))
            if values.size:
                little = values.astype(values.dtype.newbyteorder("<"), order="C", copy=False)
                archive.writestr(piece_of(name, values.shape), little.reshape(-1).view(np.uint8).data)


def read_group(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The attributes of the group and its arrays, which may be written to.

    Raises:
        StorageError: If the file is none that :func:`write_group` could have written.
    """
    described = checked_members(path)
    with zipfile.ZipFile(path) as archive:
        return described.pop("")["attributes"], {name: _values(archive, name, one) for name, one in described.items()}


def _values(archive: zipfile.ZipFile, name: str, described: Mapping[str, Any]) -> np.ndarray:
    shape, dtype = tuple(described["shape"]), np.dtype(described["data_type"])
    if 0 in shape:
        return np.zeros(shape, dtype)
    little = np.frombuffer(archive.read(piece_of(name, shape)), dtype.newbyteorder("<"))
    return little.reshape(shape).astype(dtype)


def _description(values: np.ndarray, dims: Sequence[str]) -> dict[str, Any]:
    """The content of the ``zarr.json`` of an array."""
    dtype, zero = values.dtype, values.dtype.type(0).item()
    ordered = {"configuration": {"endian": "little"}} if dtype.itemsize > 1 else {}
    return {
        "shape": list(values.shape),
        "data_type": dtype.name,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [max(1, length) for length in values.shape]},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": [zero.real, zero.imag] if isinstance(zero, complex) else zero,
        "codecs": [{"name": "bytes", **ordered}],
        "attributes": {},
        **({"dimension_names": list(dims)} if dims else {}),
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2)
