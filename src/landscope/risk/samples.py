"""How many samples a batch of any structure holds, and parts of it."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscope.errors import InputError
from landscope.wording import error_text

__all__ = [
    "Counted",
    "all_joined",
    "check_has_values",
    "count_of",
    "counted_by",
    "joined",
    "moved",
    "n_targets",
    "rows_of",
    "rows_of_pair",
    "samples_unknown",
    "unwrapped",
    "with_counts",
]


@dataclasses.dataclass(frozen=True)
class Counted:
    """Targets of any structure with the number of samples in the batch.

    Args:
        targets: The targets.
        count: Number of samples; None if the batch does not say it.
        is_whole: Whether the batch cannot be cut, because the user counted it.
    """

    targets: Any
    count: int | None
    is_whole: bool = False

    def to(self, device: torch.device) -> Counted:
        """The same on a device."""
        return dataclasses.replace(self, targets=moved(self.targets, device))


def n_targets(targets: Any) -> int | None:
    """Number of samples of the targets of a block; None if it is not known."""
    return targets.count if isinstance(targets, Counted) else len(targets)


def with_counts(pairs: Sequence[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Pairs whose number of samples is not simply that of their targets, with it."""
    return [(inputs, _with_count(inputs, targets)) for inputs, targets in pairs]


def _with_count(inputs: Any, targets: Any) -> Any:
    if isinstance(targets, Counted) or (isinstance(inputs, Tensor) and isinstance(targets, Tensor)):
        return targets
    count = count_of(inputs, targets)
    return targets if isinstance(targets, Tensor) and count == len(targets) else Counted(targets, count)


def unwrapped(targets: Any) -> Any:
    """The targets as the user gave them."""
    return targets.targets if isinstance(targets, Counted) else targets


def check_has_values(value: Tensor) -> None:
    """Raise if a tensor is on the meta device.

    Raises:
        InputError: If it is.
    """
    if value.is_meta:
        raise InputError(
            expected="data with values", got="a tensor on the meta device, which has none",
            hint="Pass data on the CPU or on the device of the model.",
        )  # fmt: skip


def moved(value: Any, device: torch.device) -> Any:
    """A batch of any structure on a device: tensors, and what has a method ``to``, also within containers."""
    if isinstance(value, Tensor):
        check_has_values(value)
    if callable(getattr(value, "to", None)):
        return value.to(device)
    if type(value) is dict:
        return {name: moved(part, device) for name, part in value.items()}
    return type(value)(moved(part, device) for part in value) if type(value) in (list, tuple) else value


def count_of(*parts: Any) -> int | None:
    """Number of samples in the parts of a batch; None if it cannot be told without doubt.

    All tensors must agree on their first axis. A list is one entry for each sample, unless it holds tensors that agree.
    A graph, whose nodes and edges have different numbers, is in doubt.

    Example:
        >>> count_of(torch.zeros(5, 2), {"labels": torch.zeros(5), "teacher": torch.zeros(5, 3)})
        5
        >>> count_of(torch.zeros(2, 8), [{"boxes": torch.zeros(3, 4)}, {"boxes": torch.zeros(1, 4)}])
        2
        >>> count_of((torch.zeros(7, 3), torch.zeros(2, 12)), torch.zeros(4)) is None
        True
    """
    counts = _admitted_by_all(parts)
    return next(iter(counts)) if counts is not None and len(counts) == 1 else None


def _admitted_by_all(parts: Sequence[Any]) -> frozenset[int] | None:
    found = [counts for counts in map(_admitted, parts) if counts is not None]
    return functools.reduce(frozenset.intersection, found) if found else None


def _admitted(value: Any) -> frozenset[int] | None:
    """The numbers of samples that a part of a batch may have; None if any number fits."""
    if isinstance(value, Tensor | np.ndarray):
        return frozenset([len(value)]) if value.ndim else None
    if value is None or isinstance(value, bool | int | float | str):
        return None
    if isinstance(value, Mapping):
        return _admitted_by_all(list(value.values()))
    if isinstance(value, list | tuple) and value:
        if not all(isinstance(part, Tensor) for part in value):
            # a list with any part that is no tensor is one entry for each sample, or it mixes fields
            mixed = any(isinstance(part, Tensor) for part in value)
            return _admitted_by_all(value) if mixed else frozenset([len(value)])
        fields = _admitted_by_all(value) or frozenset()
        return fields | frozenset([len(value)]) if _are_alike(value) else fields
    return frozenset()


def _are_alike(tensors: Sequence[Tensor]) -> bool:
    """Whether tensors may be samples: numbers of one kind with the same axes."""
    return len({(tensor.dtype, tensor.ndim) for tensor in tensors}) == 1


def _is_one_each(value: Any, count: int) -> bool | None:
    """Whether a list is one entry for each of ``count`` samples, not a list of fields; None if it can be both."""
    if not all(isinstance(part, Tensor) for part in value):
        return len(value) == count and not any(isinstance(part, Tensor) for part in value)
    fields, samples = (
        all(part.ndim == 0 or len(part) == count for part in value),
        len(value) == count and _are_alike(value),
    )
    return None if fields and samples and count > 1 else samples and not fields


def rows_of(value: Any, count: int, rows: slice | Tensor) -> Any:
    """Some samples of a batch with ``count`` samples, by a slice or by their places.

    Raises:
        ValueError: If it is not known what is one sample.
    """
    if isinstance(value, Tensor | np.ndarray):
        if value.ndim and len(value) != count:
            raise ValueError(f"a tensor with {len(value)} rows")
        return _at(value, rows) if value.ndim else value
    if isinstance(value, Counted) and not value.is_whole:
        return Counted(rows_of(value.targets, count, rows), len(_places(rows, count)))
    if isinstance(value, Mapping):
        return _like(value, {name: rows_of(part, count, rows) for name, part in value.items()})
    if type(value) in (list, tuple):
        one_each = _is_one_each(value, count)
        if one_each is None:
            raise ValueError("a list that holds either samples or fields")
        if one_each:
            return type(value)(value[place] for place in _places(rows, count))
        return type(value)(rows_of(part, count, rows) for part in value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"a {type(value).__name__}")


def _places(rows: slice | Tensor, count: int) -> Sequence[int]:
    return range(*rows.indices(count)) if isinstance(rows, slice) else rows.tolist()


def _at(values: Tensor | np.ndarray, rows: slice | Tensor) -> Tensor | np.ndarray:
    if isinstance(rows, slice):
        return values[rows]
    return values[rows.to(values.device)] if isinstance(values, Tensor) else values[rows.cpu().numpy()]


def _like(mapping: Mapping[Any, Any], parts: dict[Any, Any]) -> Any:
    """A mapping of the same type, such as the batches of a tokenizer."""
    if type(mapping) is dict:
        return parts
    made: Any = copy.copy(mapping)
    for name, part in parts.items():
        made[name] = part
    return made


def joined(parts: Sequence[Any], counts: Sequence[int]) -> Any:
    """The samples of several batches of one structure as one batch.

    Raises:
        ValueError: If they do not fit together.
    """
    first = parts[0]
    if all(isinstance(part, Tensor) for part in parts):
        return _concatenated(parts)
    if all(isinstance(part, Counted) for part in parts):
        return Counted(joined([part.targets for part in parts], counts), sum(counts))
    if all(isinstance(part, Mapping) and part.keys() == first.keys() for part in parts):
        return _like(first, {name: joined([part[name] for part in parts], counts) for name in first})
    if type(first) in (list, tuple) and all(type(part) is type(first) for part in parts):
        one_each = [_is_one_each(part, count) for part, count in zip(parts, counts, strict=True)]
        if all(one_each):
            return type(first)(itertools.chain.from_iterable(parts))
        if not any(one_each) and None not in one_each and len(set(map(len, parts))) == 1:
            return type(first)(joined(fields, counts) for fields in zip(*parts, strict=True))
    is_plain = first is None or isinstance(first, bool | int | float | str)
    if is_plain and all(type(part) is type(first) and part == first for part in parts):
        return first
    raise ValueError("batches of different structure")


def _concatenated(parts: Sequence[Tensor]) -> Tensor:
    first = parts[0]
    if len({(part.shape[1:], part.ndim, part.dtype) for part in parts}) > 1:
        raise ValueError("tensors of different shapes")
    if first.ndim:
        return torch.cat(list(parts))
    if not all(torch.equal(part, first) for part in parts):
        raise ValueError("batches with values of their own")
    return first


def all_joined(parts: Sequence[Any], counts: Sequence[int]) -> Any | None:
    """One batch of the samples of several; None if they do not fit together."""
    if len(parts) == 1:
        return parts[0]
    try:
        if type(parts[0]) is tuple and len(parts[0]) == 2:  # inputs and targets
            return tuple(joined(same, counts) for same in zip(*parts, strict=True))
        return joined(parts, counts)
    except ValueError:
        return None


def rows_of_pair(pair: tuple[Any, Any], count: int, places: Tensor) -> tuple[Any, Any]:
    """Some samples of inputs and targets."""
    inputs, targets = pair
    return rows_of(inputs, count, places), rows_of(targets, count, places)


def samples_unknown(got: str) -> InputError:
    """The error about samples that cannot be told apart."""
    return InputError(
        expected="one loss for each sample", got=got,
        hint="Return the loss of each sample, or (losses, weights) with one weight for each sample. Or take the "
        "batches of the data as the minibatches: risk.minibatches(None).",
    )  # fmt: skip


def counted_by(count: Any, batch: Any) -> int:
    """``count(batch)`` of the user, checked.

    Raises:
        InputError: If it is no positive whole number, or the function does not take the batch.
    """
    try:
        found = count(batch)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            expected="count as a function of a batch, as the data yield it",
            got=error_text(error),
            hint="For example count=lambda batch: len(batch[0]).",
        ) from error
    value = float(found) if isinstance(found, int | float) or (isinstance(found, Tensor) and found.numel() == 1) else -1
    if not (math.isfinite(value) and value >= 1 and value == int(value)):
        raise InputError(
            expected="count(batch) to give the number of samples in a batch, a whole number of at least 1",
            got=f"{found!r}",
            hint="For example count=lambda batch: len(batch[0]).",
        )
    return int(value)
