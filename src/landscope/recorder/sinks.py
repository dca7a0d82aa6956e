"""Where a recorder keeps its rows: in memory, or in a folder that a resumed training continues."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from landscope.errors import InputError, StorageError
from landscope.parameters import ParameterSpace
from landscope.recorder.blocks import BlockPool, Rows
from landscope.recorder.room import Room
from landscope.recorder.tables import Encoding, create_table, open_table
from landscope.recorder.writer import BlockWriter
from landscope.results import stamp
from landscope.sketch import CountSketch
from landscope.trajectory import BlockRows, Trajectory, open_trajectory

__all__ = ["DiskSink", "FollowingSink", "MemorySink", "other_spacing"]

_SECONDS = 60
"""Seconds to wait for the rows that another process writes."""
_SEARCHED = 50
"""Steps on either side of the one that was named, among which the weights of a model are searched."""


def other_spacing(recorded: int, asked: int, path: Path) -> InputError:
    """The error of a recording that would go on with other gaps between its rows."""
    return InputError(
        expected=f"every={recorded}, as in the rows of {path}",
        got=f"every={asked}",
        hint=f"Go on with every={recorded}, or record to another path.",
    )


class MemorySink:
    """Keeps every block, or as few of the latest as hold the last rows.

    Args:
        space: The recorded parameters.
        precision: Type of the weights in training.
        last: Number of latest rows to keep; all by default.
        pool: Where blocks that are no longer kept go back to.
        room: Memory for the rows.
        sketch: The map of the weights to the rows; None where rows are the weights.
    """

    def __init__(
        self,
        space: ParameterSpace,
        precision: torch.dtype,
        last: int | None,
        pool: BlockPool,
        room: Room,
        sketch: CountSketch | None,
    ) -> None:
        self._space, self._precision, self._last, self._pool, self._room = space, precision, last, pool, room
        self._sketch = sketch
        self._kept: list[Rows] = []
        self._n_lent = 0
        """Blocks from the first on that a trajectory reads: they stay as they are."""

    def check(self, first_step: int, weights: Tensor) -> None:
        """Rows in memory are of this recorder alone: none is recorded again."""

    def begin(self, first_step: int) -> None:
        """Keep all rows."""

    def check_there(self) -> None:
        """Memory is always there."""

    def check_room(self) -> None:
        """Raise if memory has no room for two blocks more."""
        if self._last is None:
            self._room.check_next(self._pool.rows)

    def sync(self) -> None:
        """Memory does not outlive a power cut."""

    def add(self, rows: Rows) -> None:
        """Keep a block."""
        if len(rows) < self._pool.rows:  # a view would keep the whole block
            self._pool.give_back(rows.weights)
            rows = dataclasses.replace(rows, weights=rows.weights.clone())
        self._kept.append(rows)
        if self._last is not None:
            held = sum(map(len, self._kept))
            while held - len(self._kept[0]) >= self._last:
                held -= len(self._kept[0])
                self._drop_first()

    def _drop_first(self) -> None:
        weights = self._kept.pop(0).weights
        if self._n_lent:
            self._n_lent -= 1
        else:
            self._pool.give_back(weights)

    def trajectory(self) -> Trajectory | None:
        """The rows so far; None where there are none."""
        if not self._kept:
            return None
        self._n_lent = len(self._kept)
        found = Trajectory(
            _rows=BlockRows([rows.weights for rows in self._kept]),
            _selection=slice(0, sum(map(len, self._kept)), 1),
            steps=torch.cat([rows.steps for rows in self._kept]),
            learning_rate=torch.cat([rows.rates for rows in self._kept]),
            loss=torch.cat([rows.losses for rows in self._kept]),
            space=None if self._sketch else self._space, sketch=self._sketch,
            precision=self._precision, provenance=stamp(),
        )  # fmt: skip
        return found if self._last is None else found.part(slice(-self._last, None))


class FollowingSink:
    """Keeps nothing: another process of the training has the same weights, and writes the rows of the same folder.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: int | None = None
        """The step of the last row."""

    def check(self, first_step: int, weights: Tensor) -> None:
        """The process that writes checks."""

    def begin(self, first_step: int) -> None:
        """The process that writes removes what is recorded again."""

    def check_there(self) -> None:
        """The process that writes looks after the folder."""

    def check_room(self) -> None:
        """Nothing is kept."""

    def sync(self) -> None:
        """The process that writes flushes."""

    def add(self, rows: Rows) -> None:
        """Note the last step."""
        self._last = int(rows.steps[-1])

    def trajectory(self) -> Trajectory | None:
        """The rows so far, once the other process has written them.

        Raises:
            StorageError: If it does not.
        """
        if self._last is None:
            return None
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(StorageError):
                found = open_trajectory(self._path)
                if len(found) and int(found.steps[-1]) >= self._last:
                    return found
            time.sleep(0.05)
        raise StorageError(
            expected=f"rows up to step {self._last} in {self._path}, which another process of this training writes",
            got=f"none after {_SECONDS} s",
            hint="Call recorder.trajectory() or leave the `with` block in all processes: it writes the rows in memory.",
        )


class DiskSink:
    """Writes every block to a folder, in a thread of its own, while the training goes on.

    Args:
        space: The recorded parameters.
        path: The folder.
        precision: Type of the weights in training.
        pool: Where blocks that are written go back to.
        encoding: How the rows are stored.
        sketch: The map of the weights to the rows; None where rows are the weights.
        resume: Whether to go on with rows that are there.
        before: Number of the first step that is recorded.
        every: Steps between two rows.
    """

    def __init__(
        self,
        space: ParameterSpace,
        path: Path,
        precision: torch.dtype,
        pool: BlockPool,
        encoding: Encoding,
        sketch: CountSketch | None,
        *,
        resume: bool,
        before: int,
        every: int,
    ) -> None:
        self._path, self._every = path, every
        self._writer = BlockWriter(lambda rows: self._table.append(rows), pool)
        if resume and path.exists():
            self._table = open_table(path, encoding)
            self._check_same(space, sketch)
            steps = self._table.steps()
            self._check_no_gap(steps, before)
            self._check_spacing(steps[steps < before], every)
        else:
            if resume and before > 1:
                raise InputError(
                    expected=f"a recording to go on with at {path}",
                    got="no such folder",
                    hint="It was deleted or moved: restore it. To begin a recording at this step, leave resume out.",
                )
            sizes = {"rows_per_block": pool.rows, "first_step": before}
            self._table = create_table(path, space, precision, encoding, sketch, **sizes)

    def check(self, first_step: int, weights: Tensor) -> None:
        """Raise unless rows reach to a step, and the row before it, where there is one, has these weights."""
        self._writer.wait()
        self._table = open_table(self._path)  # others may have written since this was made
        steps = self._table.steps()
        self._check_no_gap(steps, first_step)
        (found,) = np.nonzero(steps == first_step - 1)
        if len(found) and not self._table.holds(int(found[0]), weights):
            others = np.argwhere(np.abs(steps - first_step) <= _SEARCHED).flatten().tolist()
            same = next((int(steps[row]) for row in others if self._table.holds(row, weights)), None)
            raise InputError(
                expected=f"a model with the weights of step {first_step - 1}, as recorded in {self._path}",
                got="other weights" if same is None else f"those of step {same}",
                hint=f"Load your checkpoint of step {first_step - 1} into the model before you continue to record"
                + ("." if same is None else f", or pass first_step={same + 1}."),
            )

    def begin(self, first_step: int) -> None:
        """Remove the rows from a step on; they are recorded again."""
        self._writer.begin()
        self._table.truncate(int((self._table.steps() < first_step).sum()))

    def check_there(self) -> None:
        """Raise if the folder was deleted, or a block could not be written."""
        self._writer.wait()
        self._table.store.check_there()

    def check_room(self) -> None:
        """A disk that is full tells it when a block is written."""

    def sync(self) -> None:
        """Flush the rows to the disk."""
        self._writer.wait()
        self._table.sync()

    def _check_same(self, space: ParameterSpace, sketch: CountSketch | None) -> None:
        names = tuple(self._table.attributes.get("names", ()))
        shapes = tuple(tuple(shape) for shape in self._table.attributes.get("shapes", ()))
        if (names, shapes) != (space.names, space.shapes):
            raise StorageError(
                expected=f"a trajectory of {', '.join(space.names)} at {self._path}",
                got=f"one of {', '.join(names) or 'nothing'}",
                hint="Choose another path for this model.",
            )
        if sketch != self._table.sketch:
            raise InputError(
                expected=f"sketch={self._table.sketch}, as of the rows of {self._path}", got=f"sketch={sketch}",
                hint="Go on with the same sketch=, or record to another path.",
            )  # fmt: skip

    def _check_no_gap(self, steps: np.ndarray, before: int) -> None:
        """Refuse a first step that leaves out rows which the run must have taken in between."""
        every = self._every
        due = (before - 1) // every * every
        # A recording that was killed before its first rows were written still knows where it began.
        last = int(steps[-1]) if len(steps) else int(self._table.attributes.get("first_step", before)) - 1
        if due > last:
            raise InputError(
                expected=f"first_step of at most {last // every * every + every}, as the rows of"
                f" {self._path} end with step {last}",
                got=f"{before}",
                hint="Rows in memory are lost when a process is killed: call recorder.flush() whenever you save a "
                "checkpoint. Resume from an earlier checkpoint, or record to another path.",
            )

    def _check_spacing(self, kept: np.ndarray, every: int) -> None:
        """Refuse to go on with other gaps between the rows than those of the rows that stay."""
        gap = int(np.median(np.diff(kept))) if len(kept) > 1 else every
        if gap != every:
            raise other_spacing(gap, every, self._path)

    def add(self, rows: Rows) -> None:
        """Write a block of rows; an error is raised when the next one comes, or at the next :meth:`sync`."""
        self._writer.add(rows)

    def trajectory(self) -> Trajectory | None:
        """The rows so far; None where there are none."""
        self._writer.wait()
        return open_trajectory(self._path) if self._table.n_rows else None
