"""Recordings and checkpoints that exist already, taken into a study."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from landscope._checks import check_count
from landscope.errors import InputError, LandscopeError, StorageError
from landscope.parameters import ParameterSpace, Selection
from landscope.storage import RowStore
from landscope.storage.folder import ResultFolder
from landscope.study.checkpoints import Checkpoints, first_lines
from landscope.study.recording import is_recorded
from landscope.study.subject import Subject
from landscope.trajectory import (
    Trajectory,
    open_trajectory,
    stored_dtype,
    trajectory_attributes,
    trajectory_columns,
)

__all__ = ["import_checkpoints", "import_trajectory"]

_ROWS_PER_BLOCK = 256


def import_trajectory(folder: ResultFolder, model: nn.Module, trajectory: Trajectory | str | Path) -> None:
    """Copy a recording into a study, and keep the model of its last row."""
    recorded = trajectory if isinstance(trajectory, Trajectory) else open_trajectory(trajectory)
    if recorded.space is None:
        raise InputError(
            expected="a trajectory that names its parameters",
            got="one without a space",
            hint="Record it with TrajectoryRecorder, or pass space= to Trajectory.of.",
        )
    last = recorded.row(-1)
    own = recorded.space.flatten(model).to(last.dtype).cpu()
    if not torch.equal(own, last):
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
        _write_rows(folder, recorded)


def import_checkpoints(
    folder: ResultFolder,
    subject: Subject,
    checkpoints: dict[int, Any],
    select: Selection | Iterable[Selection] | None,
) -> None:
    """Keep whole models of a training, and make rows of them where nothing was recorded.

    Models come before rows: an import that was killed has no rows, and is made again from its beginning.
    """
    if not checkpoints:
        raise InputError(expected="at least one checkpoint", got="none", hint="Pass {step: state dict or path}.")
    model, rows = subject.copy(), []
    space, steps = ParameterSpace.of(model, select), sorted(checkpoints)
    for step in steps:
        check_count("the step of a checkpoint", step, minimum=0, hint="Pass {step: state dict or path}.")
    with folder.locked():
        there = _There(folder, subject)
        new = [step for step in steps if step not in there.kept.steps()]
        try:
            for step in steps:
                _load(model, checkpoints[step], step)
                there.check_same(step, model)
                there.kept.save(step, model)
                rows.append(space.flatten(model).cpu())
        except LandscopeError:
            there.kept.drop(new)
            raise
        if there.recorded is None:
            _write_rows(folder, Trajectory.of(torch.stack(rows), steps=torch.tensor(steps), space=space))


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
            different = [name for name, own in model.state_dict().items() if not _is_same(own, theirs.get(name))]
            if different:
                raise _another(step, "the model that the study has", f"another one: {different[0]} differs")
        if self.recorded is None or self.recorded.space is None:
            return
        found = (self.recorded.steps == step).nonzero().flatten().tolist()
        if found and not torch.equal(
            self.recorded.space.flatten(model).to("cpu", self.recorded.row(found[0]).dtype),
            self.recorded.row(found[0]),
        ):
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
    if len(steps) > 1:
        folder.note("training", {**folder.read_note("training"), "every": int(steps.diff().median())})


def _load(model: nn.Module, source: Any, step: int) -> None:
    if isinstance(source, nn.Module):
        source = source.state_dict()
    if not isinstance(source, Mapping | str | Path):
        raise InputError(
            expected=f"a state dict, or the path of one, for step {step}",
            got=type(source).__name__,
            hint="Pass model.state_dict(), or a file of it.",
        )
    state = source if isinstance(source, Mapping) else _read(Path(source))
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise InputError(
            expected=f"a state dict of the study's model for step {step}",
            got=first_lines(error),
            hint="Pass model.state_dict(), or a file of it.",
        ) from error


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise StorageError(
            expected=f"a state dict in {path}",
            got=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            hint="Save it with torch.save(model.state_dict(), path) or as safetensors.",
        ) from error


def _check_no_rows(folder: ResultFolder) -> None:
    if is_recorded(folder):
        raise StorageError(
            expected=f"a study without a recording at {folder.path}",
            got="one that holds a recording",
            hint="Choose another folder.",
        )


def _write_rows(folder: ResultFolder, recorded: Trajectory) -> None:
    """Write rows that are whole or absent, also after a kill."""
    path, space = folder.path / ".trajectory.imported", recorded.space
    assert space is not None  # noqa: S101 - both callers made sure
    shutil.rmtree(path, ignore_errors=True)
    precision = recorded.precision or recorded.row(0).dtype
    store = RowStore.create(
        path,
        trajectory_columns(space, precision),
        rows_per_block=_ROWS_PER_BLOCK,
        attributes={**trajectory_attributes(space, precision), "provenance": dict(recorded.provenance)},
    )
    for first in range(0, len(recorded), _ROWS_PER_BLOCK):
        part = recorded.part(slice(first, first + _ROWS_PER_BLOCK))
        weights = part.weights.to(stored_dtype(precision))
        store.append(
            weights=weights.numpy(), steps=part.steps.numpy(), learning_rate=part.learning_rate.numpy(),
            loss=part.loss.numpy(),
        )  # fmt: skip
    _note_distance(folder, recorded.steps)
    shutil.rmtree(folder.path / "trajectory", ignore_errors=True)  # of a training that failed before its first row
    path.rename(folder.path / "trajectory")
