"""The latest rows of several recordings of one task."""

from __future__ import annotations

import torch
from torch import Tensor

from landscope.trajectory import Trajectory

__all__ = ["concatenated"]


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
