"""One file for each result: a zipped zarr group that xarray can open, replaced atomically."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import zarr
from torch import Tensor
from zarr.errors import BaseZarrError
from zarr.storage import ZipStore

from landscope._checks import check_path
from landscope.errors import InputError, StorageError
from landscope.results import Result, result_kinds
from landscope.storage.atomic import replaced_atomically

__all__ = ["FORMAT", "load", "read_archive", "save", "write_archive"]

FORMAT = 1
"""Version of the file format; it increases if an older version would misread the file."""

_MARK = "landscope_format"
AnyResult = TypeVar("AnyResult", bound=Result)


def save(result: Result, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a result to one file, completely or not at all.

    The file is a zipped zarr group, which ``xarray.open_zarr(zarr.storage.ZipStore(path))`` can open too. It contains
    every tensor with named axes, and all other fields as JSON. Nothing is pickled.

    Args:
        result: Any result of landscope.
        path: File to write, usually with the ending ``.zarr.zip``.
        overwrite: Whether to replace an existing file.

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
    write_archive(
        path, kind=result.kind, arrays=arrays, attributes={"module": type(result).__module__, **result.attributes()}
    )
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
    name, arrays, attributes = read_archive(check_path("the file of a result", path))
    cls = _class_of(name, str(attributes.pop("module", "")))
    if cls is None or (kind is not None and not issubclass(cls, kind)):
        wanted = kind.kind if kind is not None else "a kind of result that this version knows"
        raise StorageError(
            expected=f"{wanted} in {path}",
            got=name,
            hint="Load it with the version of landscope or the function that wrote it.",
        )
    known = {field.name: field for field in dataclasses.fields(cls)}
    values = {
        **arrays,
        **{key: _tuples(value) if key != "provenance" else value for key, value in attributes.items()},
    }
    required = {
        key
        for key, field in known.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    different = sorted((set(values) - set(known)) | (required - set(values)))
    if different:
        raise StorageError(
            expected=f"the fields of {name} of this version in {path}",
            got=f"different fields: {', '.join(different)}",
            hint="Compute the result again, or load it with the version that wrote it.",
        )
    return cls(**values)  # ty: ignore[invalid-argument-type] - the fields were checked above


def write_archive(
    path: Path,
    *,
    kind: str,
    arrays: Mapping[str, tuple[tuple[str, ...], Tensor]],
    attributes: Mapping[str, Any],
) -> None:
    """Write tensors with named axes, and JSON attributes, to one file."""
    with (
        replaced_atomically(path) as partial,
        ZipStore(partial, mode="w") as store,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # zarr warns that it cannot rewrite zip stores, but each is written only once
        root = zarr.create_group(
            store, attributes={_MARK: FORMAT, "kind": kind, "attributes": json.dumps(dict(attributes))}
        )
        for name, (dims, tensor) in arrays.items():
            values = tensor.detach().cpu()
            if values.dtype == torch.bfloat16:  # numpy has no bfloat16; float32 represents it exactly
                values = values.float()
            root.create_array(name, data=np.ascontiguousarray(values.numpy()), dimension_names=list(dims))


def read_archive(path: Path) -> tuple[str, dict[str, Tensor], dict[str, Any]]:
    """Read the kind, the tensors and the attributes from a file of :func:`write_archive`."""
    if not path.exists():
        raise StorageError(expected=f"a file at {path}", got="none", hint="Check the path.")
    try:
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile(str(path))
        with ZipStore(path, mode="r") as store:
            root = zarr.open_group(store, mode="r")
            _check_format(path, root.attrs.get(_MARK))
            arrays = {name: torch.from_numpy(np.asarray(array[...]).copy()) for name, array in root.arrays()}
            return str(root.attrs["kind"]), arrays, json.loads(str(root.attrs["attributes"]))
    except (
        OSError,
        ValueError,
        KeyError,
        RuntimeError,
        zipfile.BadZipFile,
        BaseZarrError,
    ) as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            expected=f"a file written by landscope.save at {path}",
            got=f"an unreadable file ({type(error).__name__})",
            hint="The file is damaged, incomplete or foreign; delete it and compute the result again.",
        ) from error


def _check_format(path: Path, number: object) -> None:
    if not isinstance(number, int):
        raise StorageError(
            expected=f"a file written by landscope at {path}",
            got="a file without the format number of landscope",
            hint="Check the path.",
        )
    if number > FORMAT:
        raise StorageError(
            expected=f"format {FORMAT} or older in {path}", got=f"format {number}", hint="Upgrade landscope."
        )


def _class_of(kind: str, module: str) -> type[Result] | None:
    """The class of a kind; an import of its module registers it, and only modules of landscope are imported."""
    if kind not in result_kinds() and module.startswith("landscope."):
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    return result_kinds().get(kind)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
