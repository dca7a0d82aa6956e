"""Folders of torch.distributed.checkpoint, as FSDP writes them, read in one process without running code in them."""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import torch
from torch import Tensor

from landscope.errors import StorageError
from landscope.trajectory.unpickling import Inert
from landscope.wording import error_text

__all__ = ["METADATA", "read_distributed", "read_value"]

METADATA = ".metadata"
"""File that says where each tensor of such a folder lies."""
_PACKAGE = "torch.distributed.checkpoint."
_CLASSES = {
    (f"{_PACKAGE}metadata", name)
    for name in (
        "BytesStorageMetadata", "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta", "TensorProperties",
        "TensorStorageMetadata", "_MEM_FORMAT_ENCODING",
    )
} | {(f"{_PACKAGE}filesystem", "_StorageInfo"), ("torch.serialization", "_get_layout"), ("torch", "Size")}  # fmt: skip
_COPY = "Copy the files of all processes into one folder."
_HINT = (
    "Save it again, or write one file of it: torch.distributed.checkpoint.format_utils.dcp_to_torch_save(folder, file)."
)
_NO_MODEL = ("optim", "optimizer", "optimizers")


class _Metadata(pickle.Unpickler):
    """Reads the index of such a folder; what is no part of an index is replaced by an empty object."""

    def find_class(self, module: str, name: str) -> Any:
        """A class of an index, a floating type, or the stand-in."""
        if (module, name) in _CLASSES or (module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)):
            return super().find_class(module, name)
        return PurePath if module.split(".")[0] == "pathlib" else Inert


def _unreadable(expected: str, error: Exception) -> StorageError:
    return StorageError(expected=expected, got=error_text(error), hint=_HINT)


def _index(folder: Path) -> Any:
    file = folder / METADATA
    try:
        with file.open("rb") as stream:
            found = _Metadata(stream).load()
        if isinstance(found.state_dict_metadata, Mapping) and isinstance(found.storage_data, Mapping):
            return found
    except Exception as error:
        raise _unreadable(f"the index of a distributed checkpoint in {file}", error) from error
    raise StorageError(expected=f"the index of a distributed checkpoint in {file}", got="something else", hint=_HINT)


def _pieces(folder: Path, index: Any, name: str) -> list[tuple[Any, bytes]]:
    """What is stored of an entry: the place of each piece, and its bytes."""
    found = []
    for place, info in index.storage_data.items():
        if place.fqn != name:
            continue
        file = folder / info.relative_path
        if Path(info.relative_path).name != str(info.relative_path) or not file.is_file():
            raise StorageError(
                expected=f"all files of the checkpoint in {folder}", got=f"no {info.relative_path}",
                hint=_COPY,
            )  # fmt: skip
        if getattr(info, "transform_descriptors", None):
            raise StorageError(expected=f"plain tensors in {folder}", got="compressed ones", hint=_HINT)
        with file.open("rb") as stream:
            stream.seek(info.offset)
            found.append((place, stream.read(info.length)))
    return found


def _load(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def read_value(folder: Path, names: tuple[str, ...]) -> Any:
    """The first plain value under one of some names; None where there is none.

    Args:
        folder: The folder.
        names: Names in the state that was saved.
    """
    index = _index(folder)
    for name in names:
        if name in index.state_dict_metadata:
            value = _load(_pieces(folder, index, name)[0][1])
            return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    return None


def read_distributed(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder by name, joined from the pieces of all processes; those of the optimiser are left out.

    Args:
        folder: The folder, with its ``.metadata`` and the ``.distcp`` files.

    Raises:
        StorageError: If files or pieces are missing, or it cannot be read.
    """
    index = _index(folder)
    wanted = {
        name: entry
        for name, entry in index.state_dict_metadata.items()
        if name.split(".")[0] not in _NO_MODEL and hasattr(entry, "size") and hasattr(entry, "properties")
    }
    try:
        declared = sum(math.prod(entry.size) * entry.properties.dtype.itemsize for entry in wanted.values())
        stored = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        if declared > stored:  # before anything is allocated
            raise StorageError(
                expected=f"{declared} bytes of weights in {folder}", got=f"{stored}",
                hint=_COPY,
            )  # fmt: skip
        return {name: _tensor(folder, index, name, entry) for name, entry in wanted.items()}
    except StorageError:
        raise
    except Exception as error:
        raise _unreadable(f"a distributed checkpoint in {folder}", error) from error


def _tensor(folder: Path, index: Any, name: str, entry: Any) -> Tensor:
    """A tensor, joined from its pieces."""
    whole, filled = torch.empty(tuple(entry.size), dtype=entry.properties.dtype), 0
    for place, content in _pieces(folder, index, name):
        piece = _load(content)
        target = whole
        for axis, (first, length) in enumerate(zip(place.offset or (), piece.shape, strict=False)):
            target = target.narrow(axis, first, length)
        target.copy_(piece)
        filled += piece.numel()
    if filled != whole.numel():
        raise StorageError(
            expected=f"{whole.numel()} values of {name} in {folder}", got=f"{filled}",
            hint=_COPY,
        )  # fmt: skip
    return whole
