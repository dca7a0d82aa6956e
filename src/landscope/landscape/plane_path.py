"""The path of a training in a plane: its projection, and how much of the motion the plane shows."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float, Int
from torch import Tensor

from landscope._checks import check_trajectory
from landscope.errors import InputError
from landscope.trajectory import Trajectory

__all__ = ["PlanePath", "grid_over", "projected_path"]

_MARGIN = 0.25
"""Room around the path, as a share of its width, on each side."""


@dataclasses.dataclass(frozen=True)
class PlanePath:
    """The projection of a path into a plane.

    Args:
        coordinates: Coordinates (a, b) of each row, in units of the length of the directions, ``[T, 2]``.
        distance: Distance of each row from the plane, ``[T]``.
        steps: Optimiser step of each row, ``[T]``.
        share: Sum of the squared displacements from w0 within the plane over that of all displacements; NaN if nothing
            moved.
    """

    coordinates: Float[Tensor, "T 2"]
    distance: Float[Tensor, " T"]
    steps: Int[Tensor, " T"]
    share: float


def projected_path(trajectory: Trajectory, w0: Float[Tensor, " N"], directions: Float[Tensor, "2 N"]) -> PlanePath:
    """Project the rows of a trajectory into the plane ``w0 + a p_1 + b p_2``; rows are read a piece at a time.

    Args:
        trajectory: The path.
        w0: Point (0, 0) of the plane.
        directions: The directions of the plane; they need not be orthogonal.

    Returns:
        The projection, in float64.

    Raises:
        InputError: If the trajectory has another number of weights.
    """
    check_trajectory(trajectory)
    w0, directions = w0.detach().cpu().double(), directions.detach().cpu().double()
    if trajectory.dim != len(w0):
        raise InputError(
            expected=f"a trajectory of {len(w0)} weights, as w0", got=f"one of {trajectory.dim}",
            hint="Record the weights that the landscape is a function of.",
        )  # fmt: skip
    products, squared = _sums(trajectory, w0, directions)
    gram = directions @ directions.T
    coordinates = torch.linalg.solve(gram, products.T).T
    within = (coordinates * products).sum(1)
    total = float(squared.sum())
    return PlanePath(
        coordinates=coordinates, distance=(squared - within).clamp(min=0).sqrt(), steps=trajectory.steps.clone(),
        share=float(within.sum()) / total if total > 0 else torch.nan,
    )  # fmt: skip


def _sums(trajectory: Trajectory, w0: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Products of the displacement of each row with the directions ``[T, 2]``, and its square ``[T]``."""
    if len(trajectory) > trajectory.dim:
        moves = (block.double() - w0 for block in trajectory.blocks())
        parts = [(moved @ directions.T, moved.square().sum(1)) for moved in moves]
        return torch.cat([products for products, _ in parts]), torch.cat([squared for _, squared in parts])
    # Rows that are encoded, or made of others, are read once over their columns.
    products, squared = torch.zeros(len(trajectory), 2).double(), torch.zeros(len(trajectory)).double()
    for columns, panel in trajectory.panels(2**28):
        moved = panel.double() - w0[columns]
        products.addmm_(moved, directions[:, columns].T)
        squared += moved.square().sum(1)
    return products, squared


def grid_over(path: PlanePath, points: int) -> tuple[Float[Tensor, " S1"], Float[Tensor, " S2"]]:
    """Displacements along both directions that cover the path and w0, with a margin.

    A path that does not move along a direction gets the width of the other one.
    """
    corners = torch.cat([path.coordinates, torch.zeros(1, 2).double()])
    low, high = corners.amin(0), corners.amax(0)
    width = high - low
    margin = _MARGIN * torch.where(width > 0, width, width.max())
    if not bool(margin.max() > 0):
        raise InputError(
            expected="a path that moves within the plane, to choose the grid", got="one that stays at w0",
            hint="Pass first= and second=, for example torch.linspace(-1, 1, 25).",
        )  # fmt: skip
    ends = torch.stack([low - margin, high + margin], dim=1).tolist()
    first, second = (torch.linspace(*both, points, dtype=torch.float64) for both in ends)
    return first, second
