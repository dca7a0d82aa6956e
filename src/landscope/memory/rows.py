"""The latest rows of several recordings of one task."""

from __future__ import annotations

import torch
from torch import Tensor

from landscope.penalties.warnings import warn
from landscope.trajectory import Trajectory

__all__ = ["concatenated", "rows_of_one_path"]


def rows_of_one_path(rows: Trajectory | None, w: Tensor, step: int) -> Trajectory | None:
    """The rows of earlier trainings of a task, if a training that begins with weights ``w`` goes on from them.

    Where the weights moved in between, the jump would count as a direction of the training: the rows are left out.

    Args:
        rows: The rows so far.
        w: Selected weights of the model, ``[N]``.
        step: Number of the last step; the weights are not compared where it has no row.

    Warns:
        UserWarning: If the rows are left out.
    """
    if rows is None or int(rows.steps[-1]) != step or torch.equal(rows.row(-1), w.to(rows.row(-1))):
        return rows
    warn(
        f"the weights moved since the last `with memory.training(...)` block of this task, at step {step}, so the rows "
        "recorded until then are left out; train the task inside such blocks only"
    )
    return None


def concatenated(first: Trajectory, second: Trajectory, last: int) -> Trajectory:
    """The last rows of both trajectories, one after the other."""

    def latest(name: str) -> Tensor:
        return torch.cat([getattr(first, name), getattr(second, name)])[
            -last:
        ].clone()  # a copy: a view would keep all rows

    return Trajectory.of(
        latest("weights"), steps=latest("steps"), learning_rate=latest("learning_rate"), loss=latest("loss"),
        space=second.space,
    )  # fmt: skip
