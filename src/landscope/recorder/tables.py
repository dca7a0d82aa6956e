"""Tables of rows on disk as a recorder fills them: exact, or with one byte a weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from landscope._checks import check_choice
from landscope.errors import InputError
from landscope.parameters import ParameterSpace
from landscope.recorder.blocks import Rows
from landscope.results import stamp
from landscope.sketch import CountSketch
from landscope.storage.rows import RowStore
from landscope.trajectory import trajectory_attributes, trajectory_columns
from landscope.trajectory.deltas import DeltaEncoder, DeltaRows, delta_columns, encoded_bytes, keys_path
from landscope.trajectory.rows import are_weights_of

__all__ = [
    "ENCODINGS",
    "DeltaTable",
    "Encoding",
    "ExactTable",
    "bytes_of_a_row",
    "check_encoding",
    "create_table",
    "open_table",
]

Encoding = Literal["exact", "delta-int8"]
ENCODINGS: tuple[Encoding, ...] = ("exact", "delta-int8")


class ExactTable:
    """Rows as they are.

    Args:
        path: Folder of a table that exists.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.store = path, RowStore.open(path, writable=True)
        arguments = self.attributes.get("sketch")
        self.sketch = None if arguments is None else CountSketch(**arguments)
        """The map of the weights to the rows, where these are sketches."""

    @property
    def attributes(self) -> dict[str, Any]:
        """What is kept beside the columns."""
        return self.store.attributes

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.store.rows

    def steps(self) -> np.ndarray:
        """Step of each row."""
        return self.store.read("steps", 0, self.n_rows)

    def holds(self, row: int, weights: Tensor) -> bool:
        """Whether a row is that of these weights."""
        found = torch.from_numpy(self.store.read("weights", row, row + 1)[0])
        return are_weights_of(found, weights, None, self.sketch)

    def append(self, rows: Rows) -> None:
        """Add rows."""
        self.store.append(weights=rows.weights.numpy(), **_columns(rows))

    def truncate(self, n_rows: int) -> None:
        """Remove all rows but the first ones."""
        self.store.truncate(n_rows)

    def sync(self) -> None:
        """Flush the rows to the disk."""
        self.store.sync()


class DeltaTable(ExactTable):
    """Rows with one byte a weight, and every 64th in full, see :mod:`landscope.trajectory.deltas`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._keys = RowStore.open(keys_path(path), writable=True)
        self._n_lost = self.store.rows - DeltaRows(self.store, path).n_rows
        """Rows at the end whose row in full a power cut has taken."""
        self._encoder = DeltaEncoder(self.n_rows)

    @property
    def n_rows(self) -> int:
        """Number of rows that can be read."""
        return self.store.rows - self._n_lost

    def holds(self, row: int, weights: Tensor) -> bool:
        """Whether a row may be that of these weights."""
        rows = DeltaRows(self.store, self.path)
        return are_weights_of(rows.read(row, row + 1)[0], weights, rows.errors(row))

    def append(self, rows: Rows) -> None:
        """Add rows; those in full come first, so that a row that is there can be read."""
        encoded = self._encoder.encode(rows.weights)
        for number, row in encoded.in_full.items():
            self._keys.append(weights=row[None].numpy(), row=np.array([number]))
        self.store.append(
            deltas=encoded.deltas.numpy(), scales=encoded.scales.numpy(), key=encoded.key.numpy(), **_columns(rows)
        )

    def truncate(self, n_rows: int) -> None:
        """Remove all rows but the first ones; the next one is stored in full."""
        super().truncate(n_rows)
        self._keys.truncate(int((self._keys.read("row", 0, self._keys.rows) < n_rows).sum()))
        self._n_lost, self._encoder = 0, DeltaEncoder(n_rows)

    def sync(self) -> None:
        """Flush the rows to the disk, those in full first."""
        self._keys.sync()
        super().sync()


def check_encoding(encoding: Encoding, path: str | Path | None, sketch: int | CountSketch | None) -> None:
    """Raise unless rows can be stored in an encoding.

    Raises:
        InputError: If it is none, or rows in memory or sketches would be encoded.
    """
    if check_choice("encoding", encoding, ENCODINGS) == "exact":
        return
    if path is None:
        raise InputError(
            expected="a path for encoded rows", got="none", hint='Pass path=, or leave encoding="exact" in memory.'
        )
    if sketch is not None:
        raise InputError(
            expected='encoding="exact" with sketch=', got=f'encoding="{encoding}"',
            hint="A sketch is small already. To record the weights as well, encoded, use a second recorder.",
        )  # fmt: skip


def bytes_of_a_row(dim: int, dtype: torch.dtype, encoding: Encoding) -> int:
    """Bytes that the weights of a row take on the disk."""
    return dim * dtype.itemsize if encoding == "exact" else encoded_bytes(dim, dtype)


def create_table(
    path: Path,
    space: ParameterSpace,
    precision: torch.dtype,
    encoding: Encoding,
    sketch: CountSketch | None,
    *,
    rows_per_block: int,
    first_step: int,
) -> ExactTable:
    """Make an empty table for a recording, of weights or of their sketches.

    Raises:
        StorageError: If ``path`` exists or cannot be written.
    """
    columns = trajectory_columns(space, precision, sketch)
    attributes = trajectory_attributes(space, precision, sketch)
    attributes |= {"first_step": first_step, "provenance": stamp()}
    if encoding == "exact":
        RowStore.create(path, columns, rows_per_block=rows_per_block, attributes=attributes)
        return ExactTable(path)
    in_full = {"weights": columns.pop("weights"), "row": ((), np.dtype(np.int64))}
    attributes |= {"encoding": encoding, "provenance": stamp(encoding=encoding)}
    RowStore.create(path, {**delta_columns(space.dim), **columns}, rows_per_block=rows_per_block, attributes=attributes)
    RowStore.create(keys_path(path), in_full, rows_per_block=1, attributes={})
    return DeltaTable(path)


def open_table(path: Path, encoding: Encoding | None = None) -> ExactTable:
    """Open a table to go on with it.

    Args:
        path: Its folder.
        encoding: The encoding that is asked for.

    Raises:
        InputError: If its rows are encoded otherwise.
        StorageError: If it is missing or damaged.
    """
    found = RowStore.open(path).attributes.get("encoding", "exact")
    if encoding is not None and encoding != found:
        raise InputError(
            expected=f'encoding="{found}", as of the rows of {path}', got=f'encoding="{encoding}"',
            hint=f'Go on with encoding="{found}", or record to another path.',
        )  # fmt: skip
    return DeltaTable(path) if found == "delta-int8" else ExactTable(path)


def _columns(rows: Rows) -> dict[str, np.ndarray]:
    return {"steps": rows.steps.numpy(), "learning_rate": rows.rates.numpy(), "loss": rows.losses.numpy()}
