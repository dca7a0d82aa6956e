"""An append-only table of rows on disk; a marker, written last, counts the readable rows."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from landscope.errors import StorageError
from landscope.storage.atomic import write_json

__all__ = ["RowStore"]

_FORMAT = 1
_MARKER = "committed.json"
_GROUP = "rows.zarr"
_CHUNK_COLUMNS = 2**18
_COMPRESSORS = (BloscCodec(cname="lz4", clevel=1, shuffle="shuffle"), Crc32cCodec())


class RowStore:
    """A zarr group with columns of equal length, which grow in blocks of rows.

    The marker ``committed.json`` beside the group counts the complete rows, and is replaced atomically after each
    block. Rows after this count come from an interrupted writer, and are never read. Every block has a checksum, so
    damaged data raise an error.

    Create a table with :meth:`create`, or open one with :meth:`open`.
    """

    def __init__(self, path: Path, group: zarr.Group, rows: int) -> None:
        self.path, self._group, self._rows = path, group, rows
        self._columns = dict(group.arrays())

    @classmethod
    def create(
        cls,
        path: Path,
        columns: Mapping[str, tuple[tuple[int, ...], np.dtype]],
        *,
        rows_per_block: int,
        attributes: Mapping[str, Any],
    ) -> RowStore:
        """Create an empty table at ``path``; columns are ``name -> (shape of one row, dtype)``.

        Raises:
            StorageError: If ``path`` exists or the folder cannot be written.
        """
        if path.exists():
            raise StorageError(
                expected=f"a new folder at {path}",
                got="an existing file or folder",
                hint="Choose another path or remove it.",
            )
        partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
        try:
            group = zarr.open_group(partial / _GROUP, mode="w-", attributes=dict(attributes))
            for name, (shape, dtype) in columns.items():
                group.create_array(
                    name,
                    shape=(0, *shape),
                    chunks=(rows_per_block, *(min(length, _CHUNK_COLUMNS) for length in shape)),
                    dtype=dtype,
                    compressors=_COMPRESSORS,
                    fill_value=np.nan if np.issubdtype(dtype, np.floating) else -1,  # the values of a missing block
                    dimension_names=["step", *(f"{name}_{axis}" for axis in range(len(shape)))],
                    config={"write_empty_chunks": True},  # so a missing block means damage, not zeros
                )
            cls(partial, group, 0)._commit(0)
            partial.rename(path)  # complete or absent, so that an interrupted creation leaves nothing behind
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise _failed("to create a table", path, error) from error
        return cls.open(path, writable=True)

    @classmethod
    def open(cls, path: Path, *, writable: bool = False) -> RowStore:
        """Open the table at ``path``.

        Raises:
            StorageError: If the table is missing, damaged, foreign or of a newer format.
        """
        if not path.exists():
            raise StorageError(expected=f"a recorded trajectory at {path}", got="nothing", hint="Check the path.")
        rows = _read_marker(path)
        try:
            group = zarr.open_group(path / _GROUP, mode="r+" if writable else "r", use_consolidated=False)
            store = cls(path, group, rows)
        except Exception as error:
            raise _failed("a recorded trajectory", path, error) from error
        short = [name for name, array in store._columns.items() if array.shape[0] < rows]
        if short or not store._columns:
            raise StorageError(
                expected=f"{rows} rows in every column of {path}",
                got=f"fewer rows in {', '.join(short) or 'all'}",
                hint="The folder is damaged; record again.",
            )
        return store

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes from the creation of the table."""
        return dict(self._group.attrs)

    @property
    def rows(self) -> int:
        """Number of complete rows."""
        return self._rows

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a column."""
        return (self._rows, *self._columns[name].shape[1:])

    def dtype(self, name: str) -> np.dtype:
        """Dtype of a column."""
        return self._columns[name].dtype

    def append(self, **blocks: np.ndarray) -> None:
        """Append rows to every column and commit them.

        Raises:
            StorageError: If the disk is full or read-only, when the earlier rows stay readable; or if the folder was
                deleted.
        """
        self.check_there()
        (count,) = {len(block) for block in blocks.values()}
        end = self._rows + count
        try:
            for name, block in blocks.items():
                array = self._columns[name]
                if array.shape[0] != end:  # longer if an interrupted writer left rows
                    array.resize((end, *array.shape[1:]))
                array[self._rows : end] = block
        except OSError as error:
            raise _failed("to add rows", self.path, error) from error
        self._commit(end)

    def check_there(self) -> None:
        """Raise if the folder was deleted: writing would make one without the earlier rows.

        Raises:
            StorageError: If it was.
        """
        if not (self.path / _MARKER).exists():
            raise StorageError(
                expected=f"the table that was begun at {self.path}", got="no such folder",
                hint="It was deleted or moved in the meantime. Record again, and leave the folder where it is.",
            )  # fmt: skip

    def truncate(self, rows: int) -> None:
        """Remove all rows from index ``rows`` on."""
        if rows > self._rows:
            raise StorageError(
                expected=f"at least {rows} rows in {self.path}",
                got=f"{self._rows}",
                hint="The table is shorter than the state of its run; record again.",
            )
        self._commit(rows)

    def read(self, name: str, start: int, stop: int, part: slice = slice(None)) -> np.ndarray:
        """Read rows ``start`` to ``stop`` of a column, or a part of each row.

        Raises:
            StorageError: If a block is missing or its checksum is wrong.
        """
        if not 0 <= start <= stop <= self._rows:
            raise IndexError(f"rows {start} to {stop} of {self._rows}")
        try:
            column = self._columns[name]
            return np.asarray(column[start:stop, part] if column.ndim > 1 else column[start:stop])
        except Exception as error:
            raise _failed(f"rows {start} to {stop}", self.path, error) from error

    def _commit(self, rows: int) -> None:
        write_json(self.path / _MARKER, {"format": _FORMAT, "rows": rows})
        self._rows = rows


def _failed(what: str, path: Path, error: Exception) -> StorageError:
    reason = (error.strerror if isinstance(error, OSError) else None) or f"{type(error).__name__}: {error}"
    return StorageError(expected=f"{what} at {path}", got=reason, hint="The folder is damaged, full or not writable.")


def _read_marker(path: Path) -> int:
    try:
        marker = json.loads((path / _MARKER).read_text(encoding="utf-8"))
        number, rows = int(marker["format"]), int(marker["rows"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(
            expected=f"a trajectory recorded by landscope at {path}",
            got=f"a folder without a valid {_MARKER}",
            hint="Check the path; a recorder writes this file with its first block.",
        ) from error
    if number > _FORMAT:
        raise StorageError(
            expected=f"format {_FORMAT} or older in {path}", got=f"format {number}", hint="Upgrade landscope."
        )
    return rows
