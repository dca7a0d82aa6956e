"""What surrogates share: the increments of a window, and a trajectory made of new ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from landscope._checks import check_trajectory
from landscope.errors import InputError
from landscope.resources import free_memory
from landscope.results import stamp
from landscope.trajectory import Trajectory
from landscope.trajectory.spacing import check_even_rows

__all__ = ["changed_steps", "check_window", "increments_of", "outside_of", "surrogate_of", "walk_of"]


_SHARE = 0.25
"""Part of the free memory that a surrogate may take."""


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


@dataclasses.dataclass(frozen=True)
class _ChangedSteps:
    """Rows that are added up of the changed increments of a window, when they are read; they take no memory.

    Args:
        window: The window.
        change: ``change(increments)`` of some columns, ``[T - 1, columns]``, in float64.
    """

    window: Trajectory
    change: Callable[[Tensor], Tensor]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.window), self.window.dim)

    def read(self, start: int, stop: int, columns: slice = slice(None)) -> Tensor:
        """Rows ``start`` to ``stop``; each read goes over all rows of its columns, in bounded pieces."""
        first, last, _ = columns.indices(self.window.dim)
        found = torch.empty(stop - start, last - first, dtype=self.window.row(0).dtype)
        for piece, panel in self.window.panels(columns=columns):
            rows = panel.double()
            steps = self.change(torch.diff(rows, dim=0))
            walk = torch.cat([rows[:1], rows[:1] + steps.cumsum(dim=0)])
            found[:, piece.start - first : piece.stop - first] = walk[start:stop].to(found)
        return found


def changed_steps(trajectory: Trajectory, change: Callable[[Tensor], Tensor], name: str, seed: int) -> Trajectory:
    """A window whose increments are changed, and added up again from its first row.

    It is made in memory where it takes less than a quarter of what is free, and else when its rows are read.

    Args:
        trajectory: The window.
        change: ``change(increments)`` of some columns, ``[T - 1, columns]``, in float64.
        name: Name of the surrogate.
        seed: Its seed.
    """
    check_window(trajectory)
    check_even_rows(trajectory, "surrogates made of its steps")
    rows = _ChangedSteps(trajectory, change)
    count, dim = rows.shape
    needed = count * dim * trajectory.row(0).dtype.itemsize
    if dim < count or needed <= _SHARE * free_memory():  # of few weights, rows are read one after another
        return surrogate_of(trajectory, rows.read(0, count), name, seed)
    unknown = torch.full((count,), torch.nan, dtype=torch.float64)
    return dataclasses.replace(
        trajectory, _rows=rows, _selection=slice(0, count, 1), learning_rate=unknown, loss=unknown, checkpoints={},
        provenance=stamp(surrogate=name, seed=seed),
    )  # fmt: skip


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
