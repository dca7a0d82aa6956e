"""Recordings and checkpoints that exist already, taken into a study."""

from __future__ import annotations

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
from landscope.study.subject import Subject
from landscope.trajectory import Trajectory, open_trajectory, trajectory_columns

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
    _write_rows(folder, recorded)
    _note_distance(folder, recorded.steps)
    Checkpoints(folder.path / "checkpoints").save(int(recorded.steps[-1]), model)


def import_checkpoints(
    folder: ResultFolder,
    subject: Subject,
    checkpoints: dict[int, Any],
    select: Selection | Iterable[Selection] | None,
) -> None:
    """Keep whole models of a training, and make rows of them where nothing was recorded."""
    if not checkpoints:
        raise InputError(expected="at least one checkpoint", got="none", hint="Pass {step: state dict or path}.")
    kept, model, rows = Checkpoints(folder.path / "checkpoints"), subject.copy(), []
    space, steps = ParameterSpace.of(model, select), sorted(checkpoints)
    for step in steps:
        check_count("the step of a checkpoint", step, minimum=0, hint="Pass {step: state dict or path}.")
    new = [step for step in steps if step not in kept.steps()]
    try:
        for step in steps:
            _load(model, checkpoints[step], step)
            kept.save(step, model)
            rows.append(space.flatten(model).cpu())
    except LandscopeError:
        kept.drop(new)
        raise
    if not (folder.path / "trajectory").exists():
        recorded = Trajectory.of(torch.stack(rows), steps=torch.tensor(steps), space=space)
        _write_rows(folder, recorded)
        _note_distance(folder, recorded.steps)


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


def _write_rows(folder: ResultFolder, recorded: Trajectory) -> None:
    path, space = folder.path / "trajectory", recorded.space
    assert space is not None  # noqa: S101 - both callers made sure
    if path.exists():
        raise StorageError(
            expected=f"a study without a recording at {folder.path}",
            got="one that holds a recording",
            hint="Choose another folder.",
        )
    store = RowStore.create(
        path,
        trajectory_columns(space, recorded.row(0).dtype),
        rows_per_block=_ROWS_PER_BLOCK,
        attributes={"names": space.names, "shapes": space.shapes, "provenance": dict(recorded.provenance)},
    )
    for first in range(0, len(recorded), _ROWS_PER_BLOCK):
        part = recorded.part(slice(first, first + _ROWS_PER_BLOCK))
        store.append(
            weights=part.weights.numpy(), steps=part.steps.numpy(), learning_rate=part.learning_rate.numpy(),
            loss=part.loss.numpy(),
        )  # fmt: skip
