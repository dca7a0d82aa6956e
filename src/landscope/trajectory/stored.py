"""Trajectories on disk: how they are opened, and which columns they have."""

from __future__ import annotations

import dataclasses
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from landscope._checks import check_path
from landscope.errors import InputError, LandscopeError, StorageError
from landscope.parameters import ParameterSpace
from landscope.results import stamp
from landscope.sketch import CountSketch
from landscope.storage.rows import RowStore
from landscope.trajectory.checkpoints import CheckpointRows, own_copy
from landscope.trajectory.deltas import DeltaRows
from landscope.trajectory.rows import MemoryRows, Rows, StoredRows
from landscope.trajectory.spacing import what_is_wrong
from landscope.trajectory.trajectory import Trajectory

__all__ = [
    "open_trajectory",
    "stored_dtype",
    "trajectory_attributes",
    "trajectory_columns",
    "trajectory_of_checkpoints",
    "write_trajectory",
]

_ROWS_PER_BLOCK = 256
_BLOCK_BYTES = 2**26
_MEMORY_BYTES = 2**32


def open_trajectory(path: str | Path) -> Trajectory:
    """Open a trajectory that a recorder wrote; its weights stay on disk until they are read.

    Args:
        path: The folder given to :class:`landscope.TrajectoryRecorder`.

    Returns:
        The rows committed so far.

    Raises:
        StorageError: If the folder is missing, damaged, not of landscope or of a newer format.

    Example:
        >>> import landscope as ls, tempfile, torch
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> folder = tempfile.mkdtemp() + "/trajectory"
        >>> with ls.TrajectoryRecorder(model, optimizer, path=folder):
        ...     model(torch.ones(1, 2)).sum().backward()
        ...     optimizer.step()
        >>> ls.open_trajectory(folder).weights.shape
        torch.Size([1, 3])
    """
    folder = check_path("the folder of a trajectory", path)
    store = RowStore.open(folder)
    rows = _rows_of(store, folder)
    count = rows.shape[0]
    try:
        names = tuple(str(name) for name in store.attributes["names"])
        shapes = tuple(tuple(int(length) for length in shape) for shape in store.attributes["shapes"])
        sketch = CountSketch(**store.attributes["sketch"]) if "sketch" in store.attributes else None
        columns = {name: torch.from_numpy(store.read(name, 0, count)) for name in ("steps", "learning_rate", "loss")}
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(
            expected=f"a trajectory recorded by landscope at {path}",
            got=f"a table without {error}",
            hint="Check the path.",
        ) from error
    if wrong := what_is_wrong(columns["steps"]):
        raise StorageError(
            expected=f"rows in the order of their steps at {path}", got=wrong,
            hint="The folder is damaged; record again, or restore it from a copy.",
        )  # fmt: skip
    return Trajectory(
        _rows=rows,
        _selection=slice(0, count, 1),
        space=None if sketch else ParameterSpace(names, shapes),
        sketch=sketch,
        precision=getattr(torch, str(store.attributes.get("precision")), None),
        provenance=dict(store.attributes.get("provenance", {})),
        checkpoints={int(step): path for step, path in store.attributes.get("checkpoints", {}).items()},
        **columns,
    )


def _rows_of(store: RowStore, folder: Path) -> Rows:
    """The weights of a table, as they are encoded."""
    encoding = store.attributes.get("encoding")
    if encoding is None:
        return StoredRows(store)
    if encoding != "delta-int8":
        raise StorageError(
            expected=f"rows at {folder} in an encoding of this version", got=str(encoding)[:20],
            hint="Use the version of landscope that wrote them.",
        )  # fmt: skip
    return DeltaRows(store, folder)


def stored_dtype(precision: torch.dtype) -> torch.dtype:
    """The floating type of recorded rows: files know no bfloat16, and float32 holds it exactly."""
    return torch.float32 if precision == torch.bfloat16 else precision


def trajectory_columns(
    space: ParameterSpace, precision: torch.dtype, sketch: CountSketch | None = None
) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """The columns of a trajectory on disk, of weights or of their sketches."""
    length = space.dim if sketch is None else sketch.size
    dtype = stored_dtype(precision if sketch is None else sketch.dtype(precision))
    return {
        "weights": ((length,), torch.empty(0, dtype=dtype, device="cpu").numpy().dtype),
        "steps": ((), np.dtype(np.int64)),
        "learning_rate": ((), np.dtype(np.float64)),
        "loss": ((), np.dtype(np.float64)),
    }


def trajectory_attributes(
    space: ParameterSpace, precision: torch.dtype, sketch: CountSketch | None = None
) -> dict[str, Any]:
    """What is kept beside the columns."""
    found = {"names": space.names, "shapes": space.shapes, "precision": str(precision).removeprefix("torch.")}
    return found if sketch is None else {**found, "sketch": dataclasses.asdict(sketch)}


def write_trajectory(path: Path, trajectory: Trajectory, space: ParameterSpace) -> None:
    """Write the rows of a trajectory to a new folder, a bounded block at a time; whole or absent, also after a kill."""
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    precision = trajectory.precision or trajectory.rows(0, 0).dtype
    files = {str(step): str(file) for step, file in trajectory.checkpoints.items() if isinstance(file, str | Path)}
    rows = max(1, min(_ROWS_PER_BLOCK, _BLOCK_BYTES // (4 * space.dim)))
    store = RowStore.create(
        partial,
        trajectory_columns(space, precision),
        rows_per_block=rows,
        attributes={
            **trajectory_attributes(space, precision),
            "provenance": dict(trajectory.provenance),
            "checkpoints": files,
        },
    )
    try:
        for first in range(0, len(trajectory), rows):
            part = trajectory.part(slice(first, first + rows))
            weights = part.weights.to(stored_dtype(precision))
            store.append(
                weights=weights.numpy(), steps=part.steps.numpy(), learning_rate=part.learning_rate.numpy(),
                loss=part.loss.numpy(),
            )  # fmt: skip
        store.sync()
    except LandscopeError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(path, ignore_errors=True)
    partial.rename(path)


def trajectory_of_checkpoints(
    checkpoints: dict[int, Any], model: nn.Module, space: ParameterSpace, path: str | Path | None
) -> Trajectory:
    """The rows of checkpoints, in memory or in a new folder, see :meth:`Trajectory.from_checkpoints`."""
    sources = {
        step: str(Path(one).resolve()) if isinstance(one, str | Path) else one for step, one in checkpoints.items()
    }
    own = own_copy(model)
    precision = space.tensors(own)[0].dtype
    rows = CheckpointRows(own, space, tuple(sources.values()), stored_dtype(precision))
    unknown = torch.full((len(sources),), math.nan, dtype=torch.float64)
    lazy = Trajectory(
        _rows=rows, _selection=slice(0, len(sources), 1), steps=torch.tensor(list(sources)), learning_rate=unknown,
        loss=unknown, space=space, precision=precision, checkpoints=sources,
        provenance=stamp(source="checkpoints", parameters=list(space.names)),
    )  # fmt: skip
    if path is not None:
        folder = check_path("the folder of a trajectory", path)
        if folder.exists():
            raise StorageError(
                expected=f"a new folder at {folder}", got="an existing file or folder",
                hint="Choose another path; open_trajectory(path) opens the rows that it holds.",
            )  # fmt: skip
        write_trajectory(folder, lazy, space)
        return dataclasses.replace(open_trajectory(folder), checkpoints=sources)
    size = len(sources) * space.dim * rows.dtype.itemsize
    if size > _MEMORY_BYTES:
        raise InputError(
            expected=f"rows of at most {_MEMORY_BYTES >> 30} GiB in memory", got=f"{size / 2**30:.1f} GiB",
            hint="Pass path=, a new folder for the rows, or select= fewer parameters.",
        )  # fmt: skip
    return dataclasses.replace(lazy, _rows=MemoryRows(rows.read(0, len(sources))))
