"""Where the rows of a trajectory come from: memory, a table on disk, or some columns of other rows."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from landscope.errors import InputError
from landscope.sketch import CountSketch
from landscope.storage.rows import RowStore

__all__ = [
    "BlockRows", "InexactRows", "MemoryRows", "Rows", "SomeColumns", "StoredRows", "are_weights_of", "check_rates",
    "check_rows", "errors_of",
]  # fmt: skip


def check_rows(weights: Tensor) -> None:
    """Raise unless ``weights`` can be the rows of a trajectory.

    Raises:
        InputError: If they are no floating-point tensor of shape ``[T, N]``.
    """
    if not isinstance(weights, Tensor) or not weights.is_floating_point():
        raise InputError(
            expected="weights as a floating-point tensor",
            got=str(weights.dtype) if isinstance(weights, Tensor) else type(weights).__name__,
            hint="Pass torch.as_tensor(weights).float().",
        )
    if weights.ndim != 2:
        raise InputError(
            expected="weights of shape [T, N]",
            got=f"{tuple(weights.shape)}",
            hint="One row a step, one column a weight.",
        )


def check_rates(rates: Tensor) -> None:
    """Raise if a learning rate is negative or infinite; NaN says that it is not known.

    Raises:
        InputError: If one is.
    """
    wrong = (rates < 0) | torch.isinf(rates)
    if bool(wrong.any()):
        raise InputError(
            expected="learning rates of at least 0, or NaN where unknown",
            got=f"{float(rates[wrong][0]):g} at row {int(wrong.nonzero()[0])}",
            hint="Pass the learning rate of each step.",
        )


@runtime_checkable
class Rows(Protocol):
    """A source of weights from which a range of rows can be read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows, and of weights."""
        ...

    def read(self, start: int, stop: int, columns: slice = slice(None)) -> Tensor:
        """Rows ``start`` to ``stop``, all columns or some."""
        ...


@runtime_checkable
class InexactRows(Protocol):
    """A source of weights that were rounded when they were stored."""

    def errors(self, row: int) -> Tensor:
        """How far each weight of a row may be from its value."""
        ...


def are_weights_of(row: Tensor, weights: Tensor, errors: Tensor | None, sketch: CountSketch | None = None) -> bool:
    """Whether a row is that of these weights: to the bit, or within errors and twice the rounding of a sum.

    Args:
        row: The row as it was stored, on the CPU.
        weights: The weights.
        errors: How far each weight of the row may be from its value; None for an exact row.
        sketch: The map of the weights to the row, where it is a sketch; devices add its sums in their own order.
    """
    if sketch is not None:
        return bool((sketch(weights).to("cpu", row.dtype) - row).norm() <= sketch.rounding(row.dtype) * row.norm())
    own = weights.to("cpu", row.dtype)
    if errors is None:
        return torch.equal(own, row)
    numbers = torch.finfo(row.dtype)
    rounding = 2 * numbers.eps * row.double().abs().clamp(min=numbers.tiny)
    return bool(((own - row).abs() <= errors + rounding).all())


@dataclasses.dataclass(frozen=True)
class MemoryRows:
    """Rows of a tensor."""

    tensor: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows, and of weights."""
        return tuple(self.tensor.shape)

    def read(self, start: int, stop: int, columns: slice = slice(None)) -> Tensor:
        """Rows ``start`` to ``stop``, all columns or some."""
        return self.tensor[start:stop, columns]


class BlockRows:
    """Rows of several tensors, one after the other.

    Args:
        blocks: The tensors, one row a step; they may have different numbers of rows.
    """

    def __init__(self, blocks: Sequence[Float[Tensor, "_ N"]]) -> None:
        self._blocks = tuple(blocks)
        self._ends = list(itertools.accumulate(map(len, self._blocks)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows, and of weights."""
        return (self._ends[-1], self._blocks[0].shape[1])

    def read(self, start: int, stop: int, columns: slice = slice(None)) -> Tensor:
        """Rows ``start`` to ``stop``, all columns or some; a copy where they lie in several tensors."""
        number = bisect.bisect_right(self._ends, start, hi=len(self._ends) - 1)
        parts = []
        for block, end in zip(self._blocks[number:], self._ends[number:], strict=True):
            first = end - len(block)
            if parts and first >= stop:
                break
            parts.append(block[max(start - first, 0) : max(stop - first, 0), columns])
        return parts[0] if len(parts) == 1 else torch.cat(parts)


@dataclasses.dataclass(frozen=True)
class StoredRows:
    """Rows of a table on disk."""

    store: RowStore

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows, and of weights."""
        return self.store.shape("weights")

    def read(self, start: int, stop: int, columns: slice = slice(None)) -> Tensor:
        """Rows ``start`` to ``stop``, all columns or some."""
        return torch.from_numpy(self.store.read("weights", start, stop, columns))


@dataclasses.dataclass(frozen=True)
class SomeColumns:
    """Some columns of other rows, each multiplied by a factor where factors are given."""

    source: Rows
    columns: Int[Tensor, " n"]
    scale: Float[Tensor, " n"] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows, and of weights."""
        return (self.source.shape[0], len(self.columns))

    def read(self, start: int, stop: int, columns: slice = slice(None)) -> Tensor:
        """Rows ``start`` to ``stop``, all columns or some."""
        wanted = self.columns[columns]
        if len(wanted) == 0:
            return self.source.read(start, stop, slice(0, 0))
        first, last = int(wanted.min()), int(wanted.max())
        rows = self.source.read(start, stop, slice(first, last + 1))
        rows = rows if len(wanted) == rows.shape[1] else rows[:, wanted - first]
        return rows if self.scale is None else rows * self.scale[columns].to(rows)


def errors_of(rows: Rows, number: int) -> Tensor | None:
    """How far each weight of a row may be from its value; None where rows are exact."""
    if isinstance(rows, SomeColumns):
        errors = errors_of(rows.source, number)
        chosen = None if errors is None else errors[rows.columns]
        return chosen if chosen is None or rows.scale is None else chosen * rows.scale.abs().to(chosen)
    return rows.errors(number) if isinstance(rows, InexactRows) else None
