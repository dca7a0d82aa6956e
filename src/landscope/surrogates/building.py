"""What surrogates share: the increments of a window, and a trajectory made of new ones."""

from __future__ import annotations

import torch
from torch import Tensor

from landscope._checks import check_trajectory
from landscope.errors import InputError
from landscope.results import stamp
from landscope.trajectory import Trajectory
from landscope.trajectory.spacing import check_even_rows

__all__ = ["check_window", "increments_of", "outside_of", "surrogate_of", "walk_of"]


def check_window(trajectory: Trajectory) -> None:
    """Raise unless the window has at least three rows of finite weights."""
    check_trajectory(trajectory)
    if len(trajectory) < 3:
        raise InputError(expected="a window of at least 3 rows", got=f"{len(trajectory)}", hint="Record longer.")
    trajectory.check()


def increments_of(trajectory: Trajectory) -> tuple[Tensor, Tensor]:
    """The first row of a window, ``[1, N]``, and its increments, ``[T - 1, N]``, in float64."""
    check_window(trajectory)
    check_even_rows(trajectory, "surrogates made of its steps")
    weights = trajectory.weights.double()
    return weights[:1], torch.diff(weights, dim=0)


def outside_of(rows: Tensor, directions: Tensor) -> Tensor:
    """What is left of each row without its part along orthonormal directions."""
    return rows - (rows @ directions.T) @ directions


def walk_of(trajectory: Trajectory, first: Tensor, increments: Tensor, name: str, seed: int) -> Trajectory:
    """The sum of increments from the first row on, at the steps of the window."""
    return surrogate_of(trajectory, torch.cat([first, first + increments.cumsum(dim=0)]), name, seed)


def surrogate_of(
    trajectory: Trajectory, weights: Tensor, name: str, seed: int, *, steps: Tensor | None = None
) -> Trajectory:
    """Other weights at the steps of the window, or at others, in its dtype."""
    return Trajectory.of(
        weights.to(trajectory.row(0).dtype),
        steps=trajectory.steps if steps is None else steps,
        space=trajectory.space,
        precision=trajectory.precision,
        provenance=stamp(surrogate=name, seed=seed),
    )
