"""One file for each result: a zipped zarr group that xarray can open, replaced atomically."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import warnings
import zipfile
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import zarr
from torch import Tensor
from zarr.storage import ZipStore

from landscope._checks import check_path
from landscope.errors import InputError, StorageError
from landscope.files.atomic import replaced_atomically
from landscope.files.seal import check_seal, open_regular, seal, unreadable
from landscope.results import Result, result_kinds
from landscope.storage.digests import digest_of, in_numpy
from landscope.storage.fields import check_fields
from landscope.storage.kinds import MODULES
from landscope.storage.members import check_members

__all__ = ["FORMAT", "Archive", "load", "read_archive", "read_heading", "save", "tensor_names", "write_archive"]

FORMAT = 2
"""Version of the file format; it increases if an older version would misread the file."""

_MARK = "landscope_format"
_DESCRIPTION = "/zarr.json"
"""Member of a file that describes a tensor, after the name of the tensor."""
AnyResult = TypeVar("AnyResult", bound=Result)


def save(
    result: Result, path: str | Path, *, overwrite: bool = False, identity: Mapping[str, Any] | None = None
) -> Path:
    """Write a result to one file, completely or not at all.

    The file is a zipped zarr group, which ``xarray.open_zarr(zarr.storage.ZipStore(path))`` can open too. It contains
    every tensor with named axes, and all other fields as JSON. Nothing is pickled.

    Args:
        result: Any result of landscope.
        path: File to write, usually with the ending ``.zarr.zip``.
        overwrite: Whether to replace an existing file.
        identity: What the result was made from, as JSON can hold it; a study compares it when it reads the file.

    Returns:
        The path of the file.

    Raises:
        InputError: If the object is not a result.
        StorageError: If the file exists, the folder cannot be written, or the disk is full.

    Example:
        >>> import landscope as ls, tempfile, torch
        >>> law = ls.law.fit_power_law(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 4.0, 16.0]))
        >>> path = ls.save(law, tempfile.mkdtemp() + "/law.zarr.zip")
        >>> ls.load(path).exponent == law.exponent
        True
    """
    path = check_path("the file of a result", path)
    if not isinstance(result, Result):
        raise InputError(
            expected="a result of landscope",
            got=type(result).__name__,
            hint="Record a trajectory with path=...; save a penalty with torch.save(penalty.state_dict(), ...).",
        )
    if path.exists() and not overwrite:
        raise StorageError(
            expected=f"a new file at {path}",
            got="an existing file",
            hint="Pass overwrite=True or another path.",
        )
    arrays = {name: (result.dims_of(name), tensor) for name, tensor in result.tensors().items()}
    write_archive(path, kind=result.kind, arrays=arrays, attributes=result.attributes(), identity=identity)
    return path


def load(path: str | Path, kind: type[AnyResult] | None = None) -> Any:
    """Read a result that :func:`save` wrote.

    Args:
        path: The file.
        kind: Required class of the result; any class by default.

    Returns:
        The result, an instance of its original class, with tensors on the CPU.

    Raises:
        StorageError: If the file is missing, damaged, foreign, of a newer format, or of another kind.

    Example:
        >>> import landscope as ls
        >>> ls.load("nothing-here.zarr.zip")
        Traceback (most recent call last):
        landscope.errors.StorageError: Expected a file at nothing-here.zarr.zip; got none. Check the path.
    """
    path = check_path("the file of a result", path)
    return result_of(path, read_archive(path), kind)


def result_of(path: Path, archive: Archive, kind: type[AnyResult] | None = None) -> Any:
    """The result that an archive holds.

    Raises:
        StorageError: If it is of another kind, or its fields do not have the types that the kind has.
    """
    cls = _class_of(archive.kind)
    if cls is None or (kind is not None and not issubclass(cls, kind)):
        wanted = kind.kind if kind is not None else "a kind of result that this version knows"
        raise StorageError(
            expected=f"{wanted} in {path}",
            got=archive.kind,
            hint="Load it with the version of landscope or the function that wrote it.",
        )
    values = {
        **archive.arrays,
        **{key: _tuples(value) if key != "provenance" else value for key, value in archive.attributes.items()},
    }
    check_fields(path, cls, values)
    return cls(**values)  # ty: ignore[invalid-argument-type] - the fields were checked above


@dataclasses.dataclass(frozen=True, kw_only=True)
class Archive:
    """Content of a file of :func:`write_archive`.

    Args:
        kind: What the file holds.
        arrays: Tensors by name.
        attributes: Everything else, as JSON can hold it.
        identity: What it was made from, see :class:`landscope.storage.ResultFolder`; empty where that was not said.
        digest: SHA-256 of kind, arrays and attributes, without the provenance: equal for equal contents.
    """

    kind: str
    arrays: Mapping[str, Tensor]
    attributes: dict[str, Any]
    identity: dict[str, Any]
    digest: str


def write_archive(
    path: Path,
    *,
    kind: str,
    arrays: Mapping[str, tuple[tuple[str, ...], Tensor]],
    attributes: Mapping[str, Any],
    identity: Mapping[str, Any] | None = None,
    durable: bool = False,
) -> str:
    """Write tensors with named axes, and JSON attributes, to one file; a power cut cannot take a durable one.

    Returns:
        The digest of the content, see :class:`Archive`.
    """
    values = {name: in_numpy(tensor) for name, (_, tensor) in arrays.items()}
    digest = _content_digest(kind, values, attributes)
    with replaced_atomically(path, durable=durable) as partial:
        with _new_store(partial) as store, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zarr warns that zip stores cannot be rewritten; each is written once
            root = zarr.create_group(
                store,
                attributes={
                    _MARK: FORMAT, "kind": kind, "attributes": json.dumps(dict(attributes)),
                    "identity": json.dumps(dict(identity or {})), "digest": digest,
                },
            )  # fmt: skip
            for name, (dims, _) in arrays.items():
                shape = values[name].shape
                # One piece without compression: its size is the declared one, so a reader can check it first.
                array = root.create_array(
                    name, shape=shape, chunks=tuple(max(1, length) for length in shape), dtype=values[name].dtype,
                    compressors=None, dimension_names=list(dims), config={"write_empty_chunks": True},
                )  # fmt: skip
                array[...] = values[name]
        seal(partial)
    return digest


@contextlib.contextmanager
def _new_store(path: Path) -> Generator[ZipStore]:
    """A zip file to write; where it cannot be opened, the error of the system and not that of closing it."""
    store = ZipStore(path, mode="w")
    try:
        yield store
    finally:
        if hasattr(store, "_zf"):
            store.close()


def read_archive(path: Path) -> Archive:
    """Read a file of :func:`write_archive`.

    Raises:
        StorageError: If it is missing, damaged, foreign or of another format.
    """
    check_seal(path)
    check_members(path)
    try:
        with ZipStore(path, mode="r") as store:
            root = zarr.open_group(store, mode="r")
            arrays = {name: torch.from_numpy(np.asarray(array[...]).copy()) for name, array in root.arrays()}
            return Archive(arrays=arrays, **_heading(path, dict(root.attrs)))
    except StorageError:
        raise
    except Exception as error:  # of any library that reads the file
        raise unreadable(path, error) from error


def read_heading(path: Path) -> Archive:
    """Read everything but the tensors of a file of :func:`write_archive`, without a check of its whole content.

    Raises:
        StorageError: If it is missing, damaged where it was read, foreign or of another format.
    """
    with open_regular(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                content = json.loads(archive.read("zarr.json"))
            return Archive(arrays={}, **_heading(path, content["attributes"]))
        except StorageError:
            raise
        except Exception as error:  # a damaged zip file may raise anything
            raise unreadable(path, error) from error


def tensor_names(path: Path) -> list[str]:
    """Names of the tensors in a file of :func:`write_archive`, without reading them.

    Raises:
        StorageError: If it is missing or no such file.
    """
    with open_regular(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.namelist()
        except Exception as error:  # a damaged zip file may raise anything
            raise unreadable(path, error) from error
    return [name.removesuffix(_DESCRIPTION) for name in members if name.endswith(_DESCRIPTION)]


def _heading(path: Path, attributes: Mapping[str, Any]) -> dict[str, Any]:
    _check_format(path, attributes.get(_MARK))
    return {
        "kind": str(attributes["kind"]),
        "attributes": dict(json.loads(attributes["attributes"])),
        "identity": dict(json.loads(attributes["identity"])),
        "digest": str(attributes["digest"]),
    }


def _content_digest(kind: str, values: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> str:
    told = {name: value for name, value in attributes.items() if name != "provenance"}
    return digest_of([kind, values, told])


def _check_format(path: Path, number: object) -> None:
    if type(number) is not int:
        raise StorageError(
            expected=f"a file written by landscope at {path}",
            got="a file without the format number of landscope",
            hint="Check the path.",
        )
    if number != FORMAT:
        raise StorageError(
            expected=f"format {FORMAT} in {path}",
            got=f"format {number}",
            hint="Upgrade landscope, or compute the result again.",
        )


def _class_of(kind: str) -> type[Result] | None:
    """The class of a kind; the import of its module registers it. A file cannot name the module."""
    if kind not in result_kinds() and kind in MODULES:
        importlib.import_module(f"landscope.{MODULES[kind]}")
    return result_kinds().get(kind)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
