"""Whether the rows of a recording fit: computed before the training where its length is known."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from landscope.errors import LandscopeWarning, StorageError
from landscope.notices import warn
from landscope.resources import free_disk, free_memory, size_in_words

__all__ = ["Room"]

_FEW_ROWS = 1000
_LARGE_ROW = 2**20
"""Bytes of a row above which a sketch takes much less."""


@dataclasses.dataclass(frozen=True)
class Room:
    """The memory or the disk that rows go to.

    Args:
        row_bytes: Bytes of a row, as it is stored.
        path: Folder of the rows; None for memory.
        last: Number of rows that are kept; None for all.
        encoding: How rows on the disk are stored.
    """

    row_bytes: int
    path: Path | None
    last: int | None
    encoding: str = "exact"

    def check(self, n_rows: int | None) -> None:
        """Raise if the rows do not fit; where their number is not known, warn if few fit.

        Args:
            n_rows: Rows that will be recorded, as far as known.

        Raises:
            StorageError: If they need more than there is.

        Warns:
            LandscopeWarning: If there is room for few rows only.
        """
        free = self._free()
        if n_rows is None and self.last is None:
            if free < _FEW_ROWS * self.row_bytes:
                rows, size = free // self.row_bytes, size_in_words(self.row_bytes)
                warn(
                    f"A row takes {size}, and {self._where()} has room for {rows} rows. {self._advice()} Pass "
                    "n_steps=, the number of steps, to know before a training whether its rows fit.",
                    LandscopeWarning,
                )
            return
        held = min(count for count in (n_rows, self.last) if count is not None)
        if held * self.row_bytes > free:
            raise StorageError(
                expected=f"{size_in_words(held * self.row_bytes)} for {held} rows of {size_in_words(self.row_bytes)}",
                got=f"{size_in_words(free)} free in {self._where()}",
                hint=self._advice(),
            )

    def check_next(self, n_rows: int) -> None:
        """Raise if memory has no room for further rows: the system would end the process, and all rows would be lost.

        Raises:
            StorageError: If there is none.
        """
        free = self._free()
        if self.path is None and 2 * n_rows * self.row_bytes > free:
            raise StorageError(
                expected=f"memory for {n_rows} more rows of {size_in_words(self.row_bytes)}, and as much to spare",
                got=f"{size_in_words(free)} free",
                hint=f"The rows before are kept. {self._advice()}",
            )

    def _free(self) -> int:
        return free_memory() if self.path is None else free_disk(self.path)

    def _where(self) -> str:
        return "memory" if self.path is None else f"the disk of {self.path}"

    def _advice(self) -> str:
        other = "on disk with path=, or fewer of the latest rows with last=, or "
        if self.path is not None:
            other = 'one byte a weight with encoding="delta-int8", or ' if self.encoding == "exact" else ""
        sketch = ", or 4096 numbers a step with sketch=4096" if self.row_bytes > _LARGE_ROW else ""
        return f"Record {other}fewer weights with select=, or every tenth step with every=10{sketch}."
