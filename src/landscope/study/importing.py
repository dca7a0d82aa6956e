"""Recordings and checkpoints that exist already, taken into a study."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from landscope.errors import InputError, LandscopeError, StorageError
from landscope.parameters import ParameterSpace, Selection
from landscope.results import stamp
from landscope.sharded import whole_state
from landscope.storage.folder import ResultFolder
from landscope.study.checkpoints import Checkpoints
from landscope.study.reach import note_whole
from landscope.study.recording import is_recorded
from landscope.study.subject import Subject
from landscope.study.windows import MIN_ROWS
from landscope.trajectory import Trajectory, check_space, open_trajectory, write_trajectory
from landscope.trajectory.checkpoints import load_checkpoint
from landscope.trajectory.spacing import unevenness

__all__ = ["import_checkpoints", "import_trajectory", "what_rows_offer"]

_NOT = "Not from these: velocities, D, tau, correlation times, and surrogates made of the steps; "
_EVERY_STEP = (
    "what needs every step (oscillation, the process of a finite window, the edge of stability) is not measured."
)


def import_trajectory(folder: ResultFolder, model: nn.Module, trajectory: Trajectory | str | Path) -> None:
    """Copy a recording into a study, and keep the model of its last row."""
    recorded = trajectory if isinstance(trajectory, Trajectory) else open_trajectory(trajectory)
    own = check_space(recorded).flatten(model)
    if not recorded.holds(-1, own):
        raise InputError(
            expected="the model as it was at the last row of the trajectory",
            got="other weights",
            hint="Load the model's state of that step, buffers included, or cut the trajectory with .window(stop=...).",
        )
    with folder.locked():
        _check_no_rows(folder)
        kept = Checkpoints(folder.path / "checkpoints")
        kept.drop(kept.steps())
        kept.save(int(recorded.steps[-1]), model)
        rows = _EndingAt(recorded, own.cpu())
        _write_rows(folder, dataclasses.replace(recorded, _rows=rows, _selection=slice(0, len(recorded), 1)))


def import_checkpoints(
    folder: ResultFolder,
    subject: Subject,
    checkpoints: Mapping[int, Any],
    select: Selection | Iterable[Selection] | None,
) -> None:
    """Keep whole models of a training, one at a time, and make rows of them where nothing was recorded.

    Models come before rows: an import that was killed has no rows, and is made again from its beginning.
    """
    model = subject.copy()
    space, steps = ParameterSpace.of(model, select), list(checkpoints)
    with folder.locked():
        there = _There(folder, subject)
        new = [step for step in steps if step not in there.kept.steps()]
        try:
            for step in steps:
                load_checkpoint(checkpoints[step], model, f" for step {step}")
                there.check_same(step, model)
                there.kept.save(step, model)
        except LandscopeError:
            there.kept.drop(new)
            raise
        if there.recorded is None:
            _write_rows(folder, _rows_of_models(there.kept, steps, model, space))
        else:
            note_whole(folder)


@dataclasses.dataclass(frozen=True)
class _EndingAt:
    """Rows of a recording, with the last one as the model has it: rows that were encoded are not exact."""

    recorded: Trajectory
    last: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.recorded), self.recorded.dim)

    def read(self, start: int, stop: int, columns: slice = slice(None)) -> Tensor:
        rows = self.recorded.rows(start, stop, columns)
        if start < stop == len(self.recorded):
            rows = torch.cat([rows[:-1], self.last[None, columns].to(rows)])
        return rows


@dataclasses.dataclass(frozen=True)
class _KeptRows:
    """Rows that are read from the whole models of a study, one at a time."""

    kept: Checkpoints
    steps: list[int]
    model: nn.Module
    space: ParameterSpace

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.steps), self.space.dim)

    def read(self, start: int, stop: int, columns: slice = slice(None)) -> Tensor:
        rows = torch.empty(stop - start, self.space.dim, dtype=self.space.tensors(self.model)[0].dtype)
        for place, step in enumerate(self.steps[start:stop]):
            self.kept.load(step, self.model)
            rows[place] = self.space.flatten(self.model)
        return rows[:, columns]


def _rows_of_models(kept: Checkpoints, steps: list[int], model: nn.Module, space: ParameterSpace) -> Trajectory:
    unknown = torch.full((len(steps),), math.nan, dtype=torch.float64)
    return Trajectory(
        _rows=_KeptRows(kept, steps, model, space), _selection=slice(0, len(steps), 1), steps=torch.tensor(steps),
        learning_rate=unknown, loss=unknown, space=space, provenance=stamp(source="checkpoints"),
    )  # fmt: skip


def what_rows_offer(steps: Tensor) -> list[str]:
    """What can be measured from the rows of checkpoints at these steps, in sentences.

    Args:
        steps: Optimiser step of each row.
    """
    first, last, gaps = int(steps[0]), int(steps[-1]), steps.diff().unique().tolist()
    apart = f", {gaps[0]} steps apart" if len(gaps) == 1 else f", {gaps[0]} to {gaps[-1]} steps apart" if gaps else ""
    rows = f"{len(steps)} checkpoint{'s' * (len(steps) > 1)}: " + (
        f"steps {first} to {last}{apart}." if gaps else f"step {first}."
    )
    anywhere = (
        "At each of them: the loss, flatness and curvature along any directions, profiles and planes "
        "(study.risk(step), ls.flatness, ls.loss_profiles, ls.loss_plane)."
    )
    if len(steps) < MIN_ROWS:
        return [rows, anywhere, f"Too few for modes and exponents: a window needs {MIN_ROWS} rows or more."]
    over_time = "Over the window: principal modes, their variance, the flatness along them, and psi."
    if unevenness(steps):
        return [rows, anywhere, over_time, _NOT + "these need rows at even distances in optimiser steps."]
    if gaps[0] > 1:
        return [
            rows, anywhere, over_time,
            f"D, tau and velocities are those of changes over {gaps[0]} steps, not of single steps; " + _EVERY_STEP,
        ]  # fmt: skip
    return [rows, anywhere, over_time, "Velocities, D and tau too, as in a recording."]


class _There:
    """The rows and whole models that a study has already."""

    def __init__(self, folder: ResultFolder, subject: Subject) -> None:
        path = folder.path / "trajectory"
        self.recorded = open_trajectory(path) if is_recorded(folder) else None
        self.kept, self._other = Checkpoints(folder.path / "checkpoints"), subject.copy()
        if not path.exists():  # models without rows are those of an import that was killed
            self.kept.drop(self.kept.steps())

    def check_same(self, step: int, model: nn.Module) -> None:
        """Raise if the study has another model at this step, or other weights in the row of it."""
        if step in self.kept.steps():
            self.kept.load(step, self._other)
            theirs = self._other.state_dict()
            different = [name for name, own in whole_state(model).items() if not _is_same(own, theirs.get(name))]
            if different:
                raise _another(step, "the model that the study has", f"another one: {different[0]} differs")
        if self.recorded is None or self.recorded.space is None:
            return
        found = (self.recorded.steps == step).nonzero().flatten().tolist()
        if found and not self.recorded.holds(found[0], self.recorded.space.flatten(model)):
            raise _another(step, "the weights that were recorded", "others")


def _is_same(own: Any, other: Any) -> bool:
    if not isinstance(own, Tensor) or not isinstance(other, Tensor):
        return True  # what a layer keeps beside tensors is not stored
    return own.shape == other.shape and torch.equal(own.cpu(), other.cpu())


def _another(step: int, expected: str, got: str) -> StorageError:
    return StorageError(
        expected=f"a checkpoint with {expected} at step {step}",
        got=got,
        hint="Pass checkpoints of the recorded training, or take these into a study in another folder.",
    )


def _note_distance(folder: ResultFolder, steps: Tensor) -> None:
    """Keep how many optimiser steps lie between two rows."""
    every = int(steps.diff().median()) if len(steps) > 1 else 1
    folder.change_note("training", {"every": every})


def _check_no_rows(folder: ResultFolder) -> None:
    if is_recorded(folder):
        raise StorageError(
            expected=f"a study without a recording at {folder.path}",
            got="one that holds a recording",
            hint="Choose another folder.",
        )


def _write_rows(folder: ResultFolder, recorded: Trajectory) -> None:
    """Write rows that are whole or absent, also after a kill."""
    assert recorded.space is not None  # noqa: S101 - both callers made sure
    imported = folder.path / ".trajectory.imported"
    shutil.rmtree(imported, ignore_errors=True)
    write_trajectory(imported, recorded, recorded.space)
    _note_distance(folder, recorded.steps)
    shutil.rmtree(folder.path / "trajectory", ignore_errors=True)  # of a training that failed before its first row
    imported.rename(folder.path / "trajectory")
    note_whole(folder)
