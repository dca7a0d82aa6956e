"""A segment: some rows of a table, one NumPy file for each column, written once and never changed."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from landscope.errors import StorageError
from landscope.wording import first_lines

__all__ = ["Checked", "Column", "Segment"]

_PART = 2**18
"""Columns of a table that share a checksum, so that a part of wide rows can be checked and read alone."""
_AT_ONCE = 2**20
Checked = tuple[str, int, int, int, int]
"""A file as it was when it was checked (name, inode, time of change, size), and the number of the part of it."""


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        shape: Shape of one row: ``()`` or ``(N,)``.
        dtype: Type of its numbers, as NumPy writes it.
    """

    shape: tuple[int, ...]
    dtype: str

    @property
    def parts(self) -> list[slice]:
        """Parts of a row that have a checksum each."""
        (length,) = self.shape or (1,)
        return [slice(first, min(first + _PART, length)) for first in range(0, length, _PART)] or [slice(0, 0)]


@dataclasses.dataclass(frozen=True)
class Segment:
    """Some rows of a table.

    Args:
        name: Name of the segment; each file is ``COLUMN-NAME.npy``.
        rows: Rows in its files.
        used: Rows that belong to the table; the others were cut off.
        sums: Checksums (CRC-32C) of each column, one a part.
    """

    name: str
    rows: int
    used: int
    sums: Mapping[str, tuple[int, ...]]

    @classmethod
    def write(cls, folder: Path, name: str, values: Mapping[str, np.ndarray], columns: Mapping[str, Column]) -> Segment:
        """Write the files of a segment; they are not yet flushed to the disk."""
        rows = len(next(iter(values.values())))
        for column, array in values.items():
            np.save(_file(folder, column, name), np.ascontiguousarray(array), allow_pickle=False)
        sums = {
            column: tuple(_sum(_part(values[column], part)) for part in one.parts) for column, one in columns.items()
        }
        return cls(name, rows, rows, sums)

    @classmethod
    def of(cls, told: Mapping[str, Any], columns: Mapping[str, Column]) -> Segment:
        """The segment that a marker tells of.

        Raises:
            ValueError: If it does not make sense.
        """
        rows, used = told["rows"], told["used"]
        if not (type(rows) is int and type(used) is int and 0 < used <= rows):
            raise ValueError(f"{used!r} of {rows!r} rows")
        if not str(told["name"]).isalnum() or set(told["sums"]) != set(columns):
            raise ValueError("a segment of another table")
        return cls(str(told["name"]), rows, used, {name: tuple(sums) for name, sums in told["sums"].items()})

    def told(self) -> dict[str, Any]:
        """What a marker tells of it."""
        return {"name": self.name, "rows": self.rows, "used": self.used, "sums": dict(self.sums)}

    def files(self, folder: Path) -> list[Path]:
        """Its files."""
        return [_file(folder, column, self.name) for column in self.sums]

    def read(
        self, folder: Path, name: str, column: Column, rows: slice, part: slice, checked: set[Checked]
    ) -> np.ndarray:
        """Some rows, and a part of each, after a check of everything that shares a checksum with them.

        Args:
            folder: Folder of the table.
            name: Name of the column.
            column: The column.
            rows: The rows.
            part: Columns of them.
            checked: What was checked before, and is not checked again; what is checked now is added.

        Raises:
            StorageError: If a file is missing, has another size, or its content has changed.
        """
        stored = self._open(folder, name, column)
        if not column.shape:
            self._check_once(folder, name, 0, stored, checked)
            return np.array(stored[rows])
        first, last, step = part.indices(column.shape[0])
        if step != 1:
            raise IndexError(f"a part of a row in steps of {step}")
        for number, one in enumerate(column.parts):
            if one.start < last and first < one.stop:
                self._check_once(folder, name, number, stored[:, one], checked)
        return np.array(stored[rows, first : max(first, last)])

    def check(self, folder: Path, columns: Mapping[str, Column]) -> None:
        """Raise unless every file of the segment is whole.

        Raises:
            StorageError: If one is not.
        """
        for name, column in columns.items():
            stored = self._open(folder, name, column)
            for number, part in enumerate(column.parts):
                self._check(folder, name, number, _part(stored, part))

    def _open(self, folder: Path, name: str, column: Column) -> np.ndarray:
        file = _file(folder, name, self.name)
        try:
            if not file.is_file():
                raise FileNotFoundError("no such file")
            stored = np.load(file, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # NumPy's reader of a damaged heading may raise anything
            raise _damaged(file, first_lines(error)) from error
        wanted = (self.rows, *column.shape)
        if stored.shape != wanted or stored.dtype.str != column.dtype or not stored.flags.c_contiguous:
            raise _damaged(file, f"an array of shape {stored.shape} and type {stored.dtype}")
        return stored

    def _check_once(self, folder: Path, name: str, number: int, values: np.ndarray, checked: set[Checked]) -> None:
        file = _file(folder, name, self.name)
        try:
            state = file.stat()
        except OSError as error:  # the writer has put its rows into a longer segment
            raise _damaged(file, first_lines(error)) from error
        this = (file.name, state.st_ino, state.st_mtime_ns, state.st_size, number)
        if this not in checked:
            self._check(folder, name, number, values)
            checked.add(this)

    def _check(self, folder: Path, name: str, number: int, values: np.ndarray) -> None:
        sums = self.sums[name]
        if number >= len(sums) or _sum(values) != sums[number]:
            raise _damaged(_file(folder, name, self.name), "content that does not fit its checksum")


def _part(values: np.ndarray, part: slice) -> np.ndarray:
    return values[:, part] if values.ndim > 1 else values


def _sum(values: np.ndarray) -> int:
    """The checksum of some values; a few rows at a time, so that no copy of all of them is made."""
    found = 0
    for rows in np.array_split(values, max(1, values.nbytes // _AT_ONCE)):
        found = google_crc32c.extend(found, rows.tobytes())
    return found


def _file(folder: Path, column: str, name: str) -> Path:
    return folder / f"{column}-{name}.npy"


def _damaged(file: Path, got: str) -> StorageError:
    return StorageError(
        expected=f"whole rows in {file.name} of {os.fspath(file.parent)}",
        got=got,
        hint="The recording is damaged. landscope check FOLDER says what is lost; cut the trajectory with .window(), "
        "or record again.",
    )
