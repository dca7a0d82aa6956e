"""Whether values read from a file are those that a kind of result has: names, types, and axes of equal length."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic
from torch import Tensor

from landscope.errors import StorageError
from landscope.results import Result

__all__ = ["check_fields"]

_STRICT = pydantic.ConfigDict(strict=True, arbitrary_types_allowed=True)


def check_fields(place: Path | str, cls: type[Result], values: Mapping[str, Any]) -> None:
    """Raise unless ``cls(**values)`` is a result as this version makes it.

    Raises:
        StorageError: If fields are missing or unknown, of another type, or tensors differ in the length of an axis.
    """
    known = {field.name: field for field in dataclasses.fields(cls)}
    required = {
        key
        for key, field in known.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    different = sorted((set(values) - set(known)) | (required - set(values)))
    if different:
        raise _other(place, cls, f"different fields: {', '.join(different)}")
    for name, value in values.items():
        try:
            _type_of(cls, name).validate_python(value)
        except pydantic.ValidationError as error:
            raise _other(place, cls, f"{name} of another type: {error.errors()[0]['msg']}") from None
    lengths: dict[str, tuple[str, int]] = {}
    for name, value in values.items():
        if isinstance(value, Tensor):
            _check_axes(place, cls, name, value, lengths)


def _check_axes(
    place: Path | str, cls: type[Result], name: str, value: Tensor, lengths: dict[str, tuple[str, int]]
) -> None:
    """Compare the length of each axis of a tensor with that of the tensors before it."""
    axes = cls.dims.get(name)
    if axes is None:
        return
    if len(axes) != value.ndim:
        raise _other(place, cls, f"{name} with {value.ndim} axes, not {len(axes)}")
    for axis, length in zip(axes, value.shape, strict=True):
        other, there = lengths.setdefault(axis, (name, length))
        if there != length:
            raise _other(place, cls, f"{there} values along {axis} in {other}, and {length} in {name}")


@functools.cache
def _type_of(cls: type[Result], name: str) -> pydantic.TypeAdapter:
    """What checks a field. Tensors are checked by the axes that the class names."""
    annotation = _annotations(cls)[name]
    if "Tensor" in str(annotation):
        annotation = Tensor | None if "None" in str(annotation) else Tensor
    return pydantic.TypeAdapter(annotation, config=_STRICT)


@functools.cache
def _annotations(cls: type[Result]) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _other(place: Path | str, cls: type[Result], got: str) -> StorageError:
    return StorageError(
        expected=f"the fields of {cls.kind} of this version in {place}",
        got=got,
        hint="Compute the result again, or load it with the version that wrote it.",
    )
