"""An append-only table of rows on disk; a marker, written last, names the segments that hold them."""

from __future__ import annotations

import bisect
import contextlib
import itertools
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from landscope.errors import StorageError
from landscope.files.atomic import flush_file, flush_folder, left_over, partial_name
from landscope.files.checked_json import crc_of, read_checked, write_checked
from landscope.storage.segments import Checked, Column, Segment

__all__ = ["RowStore"]

_FORMAT = 2
_TABLE, _SAFE, _LATEST = "table.json", "committed.json", "latest.json"
_MOST_UNFLUSHED = 256
"""Segments after the last flush: `latest.json` names them all in every append, and an opening reads them all."""
_AGAIN = (
    "The folder is damaged. landscope check FOLDER, of its study, says what is lost and what makes it whole; without a "
    "copy, record again."
)


class RowStore:
    """A table with columns of equal length, which grows in segments of rows.

    ``table.json`` describes the columns and never changes; the markers name it by its checksum. Every segment is
    written once, with checksums that stand in the marker. A short last segment is written anew, with the rows that
    follow it, under another name. Two markers name the segments that count: ``committed.json`` after :meth:`sync`,
    which a power cut cannot take away, because everything that it names was flushed to the disk before it, and
    ``latest.json`` after every append, which names the segments since then and which a killed process leaves behind
    whole. Segments that no marker names come from an interrupted writer, and are not read.

    Create a table with :meth:`create`, or open one with :meth:`open`.
    """

    def __init__(self, path: Path, table: Mapping[str, Any]) -> None:
        self.path, self._table = path, dict(table)
        self._checked: set[Checked] = set()
        """What was read and found whole: it is not checked again as long as its file stays as it is."""
        self._columns = _columns_of(path, table)
        segments, self._safe = self._marked()
        """Segments that the marker of the last flush names: their files stay until the next one."""
        self._set(segments)

    def _set(self, segments: list[Segment]) -> None:
        """Take other segments, with the index after the last row of each."""
        self._segments = segments
        self._ends = list(itertools.accumulate(segment.used for segment in segments))

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
        partial = partial_name(path)
        table = {
            "format": _FORMAT,
            "id": uuid.uuid4().hex,
            "rows_per_block": rows_per_block,
            "columns": {name: {"shape": list(shape), "dtype": dtype.str} for name, (shape, dtype) in columns.items()},
            "attributes": dict(attributes),
        }
        try:
            partial.mkdir(parents=True)
            write_checked(partial / _TABLE, table)
            write_checked(partial / _SAFE, _told([], read_checked(partial / _TABLE)))
            partial.rename(path)  # complete or absent, so that an interrupted creation leaves nothing behind
            flush_folder(path.parent)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise _failed("to create a table", path, error) from error
        return cls.open(path, writable=True)

    @classmethod
    def open(cls, path: Path, *, writable: bool = False) -> RowStore:
        """Open the table at ``path``.

        Rows that were written after the last flush are checked, and only those that are whole are there.

        Raises:
            StorageError: If the table is missing, damaged, foreign or of another format.
        """
        if not path.exists():
            raise StorageError(expected=f"a recorded trajectory at {path}", got="nothing", hint="Check the path.")
        store = cls(path, _read(path, _TABLE))
        if writable:
            store._remove_unnamed()
        return store

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes from the creation of the table."""
        return dict(self._table["attributes"])

    @property
    def rows(self) -> int:
        """Number of complete rows."""
        return self._ends[-1] if self._ends else 0

    @property
    def sums(self) -> list[dict[str, Any]]:
        """What identifies the rows: the checksums of the segments in order, whatever their files are called."""
        return [{"used": segment.used, "rows": segment.rows, "sums": dict(segment.sums)} for segment in self._segments]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a column."""
        return (self.rows, *self._columns[name].shape)

    def dtype(self, name: str) -> np.dtype:
        """Dtype of a column."""
        return np.dtype(self._columns[name].dtype)

    def append(self, **blocks: np.ndarray) -> None:
        """Append rows to every column; they outlive the process, and after :meth:`sync` a power cut too.

        Raises:
            StorageError: If the disk is full or read-only, when the earlier rows stay readable; or if the folder was
                deleted.
        """
        self.check_there()
        if not len(next(iter(blocks.values()))):
            return
        kept, values = list(self._segments), {name: np.asarray(blocks[name]) for name in self._columns}
        short = kept.pop() if kept and kept[-1].used < self._table["rows_per_block"] else None
        if short is not None:
            values = {name: np.concatenate([self._of(short, name), values[name]]) for name in self._columns}
        try:
            kept += self._written(values, len(kept))
            self._mark_latest(kept)
        except OSError as error:
            self._remove_unnamed()
            raise _failed("to add rows", self.path, error) from error
        self._set(kept)
        if short is not None and short not in self._safe:
            self._remove(short)
        if len(kept) - len(self._safe) >= _MOST_UNFLUSHED:
            self.sync()

    def sync(self) -> None:
        """Flush all rows to the disk, then name them in the marker that survives a power cut.

        Raises:
            StorageError: If the folder cannot be written.
        """
        if self._segments == self._safe and not (self.path / _LATEST).exists():
            return
        flushed = {segment.name for segment in self._safe}
        try:
            for segment in self._segments:
                if segment.name not in flushed:
                    for file in segment.files(self.path):
                        flush_file(file)
            flush_folder(self.path)
            write_checked(self.path / _SAFE, _told(self._segments, self._table))
            (self.path / _LATEST).unlink(missing_ok=True)
        except OSError as error:
            raise _failed("to flush rows", self.path, error) from error
        self._safe = self._segments
        self._remove_unnamed()

    def check_there(self) -> None:
        """Raise if the folder was deleted: writing would make one without the earlier rows.

        Raises:
            StorageError: If it was.
        """
        if not (self.path / _SAFE).exists():
            raise StorageError(
                expected=f"the table that was begun at {self.path}", got="no such folder",
                hint="It was deleted or moved in the meantime. Record again, and leave the folder where it is.",
            )  # fmt: skip

    def truncate(self, rows: int) -> None:
        """Remove all rows from index ``rows`` on."""
        if rows > self.rows:
            raise StorageError(
                expected=f"at least {rows} rows in {self.path}",
                got=f"{self.rows}",
                hint="The table is shorter than the state of its run; record again.",
            )
        if rows == self.rows:
            return
        kept, left = [], rows
        for segment in self._segments:
            used = min(segment.used, left)
            left -= used
            if used:
                kept.append(Segment(segment.name, segment.rows, used, segment.sums))
        self._set(kept)
        self.sync()

    def read(self, name: str, start: int, stop: int, part: slice = slice(None)) -> np.ndarray:
        """Read rows ``start`` to ``stop`` of a column, or a part of each row.

        Raises:
            StorageError: If a file is missing or its checksum is wrong.
        """
        if not 0 <= start <= stop <= self.rows:
            raise IndexError(f"rows {start} to {stop} of {self.rows}")
        while True:
            try:
                return self._read(name, start, stop, part)
            except StorageError:
                # The writer has put the rows of a short segment into a longer one, perhaps again and again.
                segments = self._segments
                self._set(self._marked()[0])
                if segments == self._segments or self.rows < stop:
                    raise

    def _read(self, name: str, start: int, stop: int, part: slice) -> np.ndarray:
        column, found = self._columns[name], []
        for number in range(bisect.bisect_right(self._ends, start), len(self._ends)):
            segment, first = self._segments[number], self._ends[number] - self._segments[number].used
            if first >= stop:
                break
            rows = slice(max(start - first, 0), min(stop - first, segment.used))
            found.append(segment.read(self.path, name, column, rows, part, self._checked))
        if found:
            return found[0] if len(found) == 1 else np.concatenate(found)
        return np.empty((0, *column.shape), column.dtype)[(slice(None), part)[: 1 + len(column.shape)]]

    def check(self) -> list[tuple[int, int, StorageError]]:
        """Read everything; the rows that are lost, from the first to before the second, and why."""
        lost = []
        for segment, end in zip(self._segments, self._ends, strict=True):
            try:
                segment.check(self.path, self._columns)
            except StorageError as error:
                lost.append((end - segment.used, end, error))
        return lost

    def _marked(self) -> tuple[list[Segment], list[Segment]]:
        """The segments that count, and those that were flushed.

        The latest marker counts up to the first segment that is not whole, but never less than what was flushed.
        """
        told_safe = _read(self.path, _SAFE)
        safe = self._segments_of(self._own(_SAFE, told_safe))
        try:
            told = read_checked(self.path / _LATEST)
            before = told.pop("flushed")
            added = self._segments_of(told)
            if _read(self.path, _SAFE) != told_safe:  # a writer has flushed rows between the two markers
                return self._marked()
        except (StorageError, KeyError):  # there is none, or a power cut has taken it
            return safe, safe
        self._own(_LATEST, told)
        latest = safe[:before] + list(itertools.takewhile(self._is_whole, added))
        return (latest if _rows(latest) >= _rows(safe) else safe), safe

    def _own(self, name: str, told: dict[str, Any]) -> dict[str, Any]:
        """What a marker says, if it was written beside this table.

        Raises:
            StorageError: If the marker, or the table, is that of another recording.
        """
        if told.get("table") != crc_of(self._table):
            raise StorageError(
                expected=f"{_TABLE} and {name} of one recording in {self.path}", got="those of two", hint=_AGAIN
            )
        return told

    def _is_whole(self, segment: Segment) -> bool:
        try:
            segment.check(self.path, self._columns)
        except StorageError:
            return False
        return True

    def _segments_of(self, told: Mapping[str, Any]) -> list[Segment]:
        try:
            found = [Segment.of(one, self._columns) for one in told["segments"]]
            if _rows(found) != told["rows"]:
                raise ValueError(f"{_rows(found)} in its segments")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StorageError(
                expected=f"{str(told.get('rows'))[:20]} rows in {self.path}", got=str(error), hint=_AGAIN
            ) from error
        return found

    def _of(self, segment: Segment, name: str) -> np.ndarray:
        return segment.read(self.path, name, self._columns[name], slice(0, segment.used), slice(None), self._checked)

    def _written(self, values: Mapping[str, np.ndarray], number: int) -> list[Segment]:
        """Write rows as segments of at most the size of a block."""
        size, count = self._table["rows_per_block"], len(next(iter(values.values())))
        taken = {segment.name for segment in (*self._segments[number:], *self._safe[number:])}
        written = []
        for first in range(0, count, size):
            part = {name: array[first : first + size] for name, array in values.items()}
            name = _free_name(number + len(written), taken)
            written.append(Segment.write(self.path, name, part, self._columns))
        return written

    def _mark_latest(self, segments: list[Segment]) -> None:
        """Name the segments after the last flush; the first of them may replace the short one that was flushed."""
        same = len(self._safe)
        if self._safe and segments[same - 1 : same] != self._safe[-1:]:
            same -= 1
        told = {"flushed": same, **_told(segments[same:], self._table)}
        write_checked(self.path / _LATEST, told, durable=False)

    def _remove(self, segment: Segment) -> None:
        with contextlib.suppress(OSError):
            for file in segment.files(self.path):
                file.unlink(missing_ok=True)

    def _remove_unnamed(self) -> None:
        """Delete the files of segments that no marker names, and what a killed writer left half-written."""
        kept = {file.name for segment in (*self._segments, *self._safe) for file in segment.files(self.path)}
        with contextlib.suppress(OSError):
            for file in [*self.path.glob("*.npy"), *left_over(self.path)]:
                if file.name not in kept:
                    file.unlink()


def _free_name(number: int, taken: set[str]) -> str:
    """A name for a segment that no marker uses: its number, and a letter that tells versions apart."""
    letter = next(chr(one) for one in range(ord("a"), ord("z") + 1) if f"{number:06d}{chr(one)}" not in taken)
    return f"{number:06d}{letter}"


def _rows(segments: list[Segment]) -> int:
    return sum(segment.used for segment in segments)


def _told(segments: list[Segment], table: Mapping[str, Any]) -> dict[str, Any]:
    """What a marker says of segments, and of the table that they are rows of."""
    rows = [segment.told() for segment in segments]
    return {"format": _FORMAT, "table": crc_of(table), "rows": _rows(segments), "segments": rows}


def _columns_of(path: Path, table: Mapping[str, Any]) -> dict[str, Column]:
    try:
        found = {
            str(name): Column(tuple(told["shape"]), str(np.dtype(told["dtype"]).str))
            for name, told in table["columns"].items()
        }
        if not found or type(table["rows_per_block"]) is not int or table["rows_per_block"] < 1:
            raise ValueError("a table without columns")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StorageError(expected=f"the columns of a table in {path}", got=str(error), hint=_AGAIN) from error
    return found


def _read(path: Path, name: str) -> dict[str, Any]:
    """A file that every table has."""
    file = path / name
    if not file.exists():
        raise StorageError(
            expected=f"a trajectory recorded by landscope at {path}",
            got=f"a folder without {file.name}",
            hint="Check the path; a recorder writes this file first.",
        )
    told = read_checked(file)
    if told.get("format") != _FORMAT:
        raise StorageError(
            expected=f"format {_FORMAT} in {path}",
            got=f"format {str(told.get('format'))[:20]}",
            hint="Use the version of landscope that wrote it, or record again.",
        )
    return told


def _failed(what: str, path: Path, error: Exception) -> StorageError:
    reason = (error.strerror if isinstance(error, OSError) else None) or f"{type(error).__name__}: {error}"
    return StorageError(expected=f"{what} at {path}", got=reason, hint="The folder is damaged, full or not writable.")
