"""Some samples of a batch of any structure."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["count_rows", "joined_rows", "take_rows"]

_SHARED = (bool, int, float, complex, str, bytes, type(None))
"""Types of values that all samples of a batch share."""


def count_rows(batch: Any) -> int | None:
    """The number of samples of a batch, the length of all its tensors; None where it is not clear.

    Example:
        >>> count_rows({"x": torch.zeros(4, 2), "y": torch.zeros(4), "scale": 2.0})
        4
        >>> count_rows({"nodes": torch.zeros(9, 2), "edges": torch.zeros(2, 30)}) is None
        True
    """
    try:
        lengths = set(_lengths(batch))
    except TypeError:
        return None
    return lengths.pop() if len(lengths) == 1 else None


def _lengths(value: Any) -> Iterator[int]:
    if isinstance(value, Tensor):
        if value.ndim:
            yield len(value)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _lengths(part)
    elif type(value) in (list, tuple):
        if value and all(isinstance(part, _SHARED) for part in value):  # such as lengths of sequences
            yield len(value)
        else:
            for part in value:
                yield from _lengths(part)
    elif not isinstance(value, _SHARED):
        raise TypeError(f"a batch with a {type(value).__name__} has no clear samples")


def take_rows(value: Any, places: Tensor) -> Any:
    """The samples at some places of a batch whose samples :func:`count_rows` counts."""
    if isinstance(value, Tensor):
        return value[places.to(value.device)] if value.ndim else value
    if isinstance(value, Mapping):
        return _like(value, {name: take_rows(part, places) for name, part in value.items()})
    if type(value) in (list, tuple):
        if value and all(isinstance(part, _SHARED) for part in value):
            return type(value)(value[place] for place in places.tolist())
        return type(value)(take_rows(part, places) for part in value)
    return value


def _like(mapping: Mapping[Any, Any], parts: dict[Any, Any]) -> Any:
    """A mapping of the same type, such as the batches of a tokenizer."""
    if type(mapping) is dict:
        return parts
    made: Any = copy.copy(mapping)
    for name, part in parts.items():
        made[name] = part
    return made


def joined_rows(parts: Sequence[Any]) -> Any | None:
    """One batch of the samples of several; None if they differ in structure, in shape or in what samples share."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if any(type(part) is not type(first) for part in parts):
        return None
    if isinstance(first, Tensor):
        alike = {(part.shape[1:], part.dtype) for part in parts}
        if not first.ndim:
            return first if all(torch.equal(part, first) for part in parts) else None
        return torch.cat(list(parts)) if len(alike) == 1 else None
    if isinstance(first, Mapping):
        if any(list(part) != list(first) for part in parts):
            return None
        joined = {name: joined_rows([part[name] for part in parts]) for name in first}
        lost = any(joined[name] is None and first[name] is not None for name in first)
        return None if lost else _like(first, joined)
    if type(first) in (list, tuple):
        if first and all(isinstance(value, _SHARED) for part in parts for value in part):
            return type(first)(value for part in parts for value in part)
        if any(len(part) != len(first) for part in parts):
            return None
        values = [joined_rows(list(column)) for column in zip(*parts, strict=True)]
        lost = any(value is None and before is not None for value, before in zip(values, first, strict=True))
        return None if lost else type(first)(values)
    return first if all(part == first for part in parts) else None
