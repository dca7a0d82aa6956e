r"""Rows with one byte a weight: differences of successive rows in steps of a scale, and some rows in full.

A row is stored as what it adds to the row *as it was stored before*, so that errors do not add up:

.. math:: q_t = \mathrm{round}\left((w_t - \hat w_{t-1}) / s_t\right), \qquad \hat w_t = \hat w_{t-1} + s_t q_t, \qquad
          s_t = \max_j |w_{t,j} - \hat w_{t-1,j}| / 127

with a scale :math:`s_t` for each group of 256 weights. So every weight is within :math:`s_t / 2` of its value, at
every step. Where no weight of the group moves farther than :math:`\Delta` in a step,
:math:`s_t \le (\Delta + s_{t-1}/2) / 127`: the error is at most 1/253 of the largest step, beside the rounding of the
weights themselves.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int8
from torch import Tensor

from landscope.errors import StorageError
from landscope.storage.rows import RowStore

__all__ = ["DeltaEncoder", "DeltaRows", "Encoded", "delta_columns", "encoded_bytes", "keys_path"]

_GROUP = 256
"""Weights that share a scale."""
_LARGEST = 127
_PIECE = 2**16
"""Weights that are encoded at once: what is in between stays in the cache."""
_READ_BYTES = 2**26
"""Bytes of steps that are read at once."""
_KEY_EVERY = 64
"""Rows from one that is stored in full to the next: reading a row decodes those in between."""


def keys_path(path: Path) -> Path:
    """Folder of the rows that are stored in full."""
    return path / "keys"


def delta_columns(dim: int) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """The columns of a table in place of that of the weights."""
    return {
        "deltas": ((dim,), np.dtype(np.int8)),
        "scales": ((-(-dim // _GROUP),), np.dtype(np.float32)),
        "key": ((), np.dtype(np.int64)),
    }


def encoded_bytes(dim: int, dtype: torch.dtype) -> int:
    """Bytes of an encoded row, with its share of a row in full."""
    return dim + 4 * -(-dim // _GROUP) + -(-dim * dtype.itemsize // _KEY_EVERY)


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Some encoded rows.

    Args:
        deltas: q of each row; 0 in rows that are stored in full.
        scales: s of each group, ``[rows, groups]``.
        key: Number of the row in full that each row is added to.
        in_full: Rows that are stored in full, by their number.
    """

    deltas: Int8[Tensor, "rows N"]
    scales: Float[Tensor, "rows groups"]
    key: Tensor
    in_full: dict[int, Float[Tensor, " N"]]


class DeltaEncoder:
    """Encodes rows in their order.

    Args:
        first: Number of the first row; it is stored in full.
    """

    def __init__(self, first: int = 0) -> None:
        self._next, self._key = first, first
        self._latest: Tensor | None = None
        """The row before, as it was stored."""

    def encode(self, rows: Float[Tensor, "rows N"]) -> Encoded:
        """Encode rows that follow those before."""
        n_rows, dim = rows.shape
        deltas = torch.zeros(n_rows, dim, dtype=torch.int8, device=rows.device)
        scales = torch.zeros(n_rows, -(-dim // _GROUP), dtype=torch.float32, device=rows.device)
        keys: list[int] = []
        in_full: dict[int, Tensor] = {}
        for number, row in enumerate(rows):
            if not self._follows(row, deltas[number], scales[number]):
                self._latest, self._key = _in_sums(row), self._next
                in_full[self._next] = row
                deltas[number], scales[number] = 0, 0
            keys.append(self._key)
            self._next += 1
        return Encoded(deltas, scales, torch.tensor(keys, device=rows.device), in_full)

    def _follows(self, row: Tensor, deltas: Tensor, scales: Tensor) -> bool:
        """Encode a row; False if it has to be stored in full."""
        if self._latest is None or self._next - self._key >= _KEY_EVERY:
            return False
        groups = _PIECE // _GROUP
        pieces = zip(*(part.split(_PIECE) for part in (row, self._latest, deltas)), scales.split(groups), strict=True)
        for now, before, stored, scale in pieces:
            _encode_piece(now, before, stored, scale)
        return bool(torch.isfinite(scales.sum()))


def _encode_piece(now: Tensor, before: Tensor, stored: Tensor, scale: Tensor) -> None:
    """Encode some groups of a row; ``before`` becomes what was stored."""
    change = now - before
    whole = len(change) // _GROUP * _GROUP
    largest = change[:whole].view(-1, _GROUP).abs().amax(dim=1)
    if whole < len(change):
        largest = torch.cat([largest, change[whole:].abs().amax()[None]])
    scale.copy_(largest / _LARGEST)
    step = _of_weights(scale, slice(0, len(now))).to(change.dtype)
    stored.copy_(torch.where(step > 0, change / step, 0.0).round_().clamp_(-_LARGEST, _LARGEST))
    before.add_(step * stored)


def _in_sums(row: Tensor) -> Tensor:
    """A copy of a row in the type in which steps are added up: half precision would round, or lose, their scales."""
    return row.to(torch.promote_types(row.dtype, torch.float32), copy=True)


def _of_weights(scales: Tensor, columns: slice) -> Tensor:
    """The scale of each of some columns, of scales that begin with that of their first group."""
    first = columns.start - columns.start % _GROUP
    return scales.repeat_interleave(_GROUP, dim=-1)[..., columns.start - first : columns.stop - first]


class DeltaRows:
    """Rows that :class:`DeltaEncoder` encoded, in a table on disk.

    Args:
        store: The table.
        path: Its folder.

    Raises:
        StorageError: If the rows in full are missing or damaged.
    """

    def __init__(self, store: RowStore, path: Path) -> None:
        self._store, self._keys = store, RowStore.open(keys_path(path))
        self.dtype = self._keys.dtype("weights")
        held = self._keys.read("row", 0, self._keys.rows).tolist()
        self._places = {row: place for place, row in enumerate(held)}
        needed = store.read("key", 0, store.rows).tolist()
        missing = next((number for number, key in enumerate(needed) if key not in self._places), len(needed))
        self._starts, self.n_rows = sorted(set(needed[:missing])), missing
        """Rows in full that are needed, and the number of rows that they give."""
        self._latest: tuple[int, slice, Tensor] | None = None
        """Number, columns and weights of the row that was decoded last: one that follows needs no row in full."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows, and of weights."""
        return (self.n_rows, self._store.shape("deltas")[1])

    def read(self, start: int, stop: int, columns: slice = slice(None)) -> Tensor:
        """Rows ``start`` to ``stop``, all columns or some; each is added up from the row in full before it."""
        first, last, step = columns.indices(self.shape[1])
        if step != 1:
            raise IndexError(f"columns in steps of {step}")
        dtype = torch.from_numpy(np.empty(0, self.dtype)).dtype
        found = torch.empty(stop - start, max(0, last - first), dtype=dtype, device="cpu")
        if not found.numel():
            return found
        for key, end in self._spans(start, stop):
            self._add_up(
                key, slice(max(start, key), end), slice(first, last), found[max(start, key) - start : end - start]
            )
        return found

    def _spans(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Rows in full, and the row before which what is added to them ends."""
        number = bisect.bisect_right(self._starts, start) - 1
        for key, following in zip(self._starts[number:], [*self._starts[number + 1 :], stop], strict=True):
            if key >= stop:
                return
            yield key, min(following, stop)

    def _add_up(self, key: int, rows: slice, columns: slice, found: Tensor) -> None:
        """Decode rows that follow a row in full; where the row before them was decoded last, from there."""
        first, value = self._before(key, rows.start, columns)
        width = max(1, _READ_BYTES // (rows.stop - first) // _PIECE) * _PIECE
        for start in range(columns.start - columns.start % _PIECE, columns.stop, width):
            part = slice(max(start, columns.start), min(start + width, columns.stop))
            here = slice(part.start - columns.start, part.stop - columns.start)
            self._add_up_some(range(first, rows.stop), part, value[here], found[:, here])
        self._latest = rows.stop - 1, columns, value

    def _add_up_some(self, numbers: range, columns: slice, value: Tensor, found: Tensor) -> None:
        """Decode rows of some columns; ``value`` becomes the last one, and the last ones go to ``found``."""
        groups = slice(columns.start // _GROUP, -(-columns.stop // _GROUP))
        deltas = torch.from_numpy(self._store.read("deltas", numbers.start, numbers.stop, columns))
        scales = torch.from_numpy(self._store.read("scales", numbers.start, numbers.stop, groups))
        wanted = numbers.stop - len(found)
        for start in range(columns.start - columns.start % _PIECE, columns.stop, _PIECE):
            piece = slice(max(start, columns.start), min(start + _PIECE, columns.stop))
            here = slice(piece.start - columns.start, piece.stop - columns.start)
            own = slice(piece.start // _GROUP - groups.start, -(-piece.stop // _GROUP) - groups.start)
            for number, delta, scale in zip(numbers, deltas[:, here], scales[:, own], strict=True):
                value[here].add_(_of_weights(scale, piece).to(value.dtype) * delta)
                if number >= wanted:
                    found[number - wanted, here] = value[here]

    def _before(self, key: int, row: int, columns: slice) -> tuple[int, Tensor]:
        """The first row whose steps are to be added, and the weights before them."""
        latest, self._latest = self._latest, None
        if latest is not None and latest[1] == columns and key <= latest[0] < row:
            return latest[0] + 1, latest[2]
        place = self._places[key]
        return key, _in_sums(torch.from_numpy(self._keys.read("weights", place, place + 1, columns)[0]))

    def errors(self, row: int) -> Float[Tensor, " N"]:
        """How far each weight of a row may be from its value: half a scale; 0 in rows in full."""
        (scale,) = torch.from_numpy(self._store.read("scales", row, row + 1))
        return _of_weights(scale, slice(0, self.shape[1])) / 2

    def check(self) -> list[tuple[int, int, StorageError]]:
        """Rows that cannot be read because their row in full is damaged or missing, and why."""
        lost = []
        for first, _, error in self._keys.check():
            key = int(self._keys.read("row", first, first + 1)[0])
            if key in self._starts:
                (_, end) = next(self._spans(key, self.n_rows))
                lost.append((key, end, error))
        return lost
