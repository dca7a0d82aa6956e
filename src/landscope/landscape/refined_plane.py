"""A grid that is halved where the contours of ln L are not yet in their place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from landscope.errors import InputError

__all__ = ["PlaneGrid", "contour_levels", "refined"]

_LEVELS = 12
_TOLERANCE = 0.1
"""Error of ln L, in units of the distance between contours, from which on a cell is halved."""


@dataclasses.dataclass(frozen=True)
class PlaneGrid:
    """Values on a grid; those that were not measured are interpolated.

    Args:
        first: Displacements along the first direction, ``[S1]``.
        second: Displacements along the second direction, ``[S2]``.
        values: The loss, then the other quantities, ``[1 + m, S1, S2]``.
        measured: Whether they were measured there.
    """

    first: Tensor
    second: Tensor
    values: Tensor
    measured: Tensor


def contour_levels(loss: Tensor) -> Tensor:
    """Levels at equal distances between the smallest and the largest finite ln L; none if all are the same.

    Raises:
        InputError: If a loss is negative.
    """
    if bool((loss < 0).any()):
        raise InputError(
            expected="losses of at least 0, to refine the contours of ln L", got=f"{float(loss.min()):.6g}",
            hint="Pass refine=0 and a finer grid.",
        )  # fmt: skip
    log_loss = loss.log()
    finite = log_loss[torch.isfinite(log_loss)]
    if not len(finite) or not bool(finite.max() > finite.min()):
        return torch.empty(0, dtype=torch.float64)
    return torch.linspace(float(finite.min()), float(finite.max()), _LEVELS + 2, dtype=torch.float64)[1:-1]


def refined(grid: PlaneGrid, measure: Callable[[Tensor, Tensor], Tensor], halvings: int, levels: Tensor) -> PlaneGrid:
    """Halve cells that a contour passes and in which ln L is not linear enough to say where.

    The error of linear interpolation in a cell is taken from second differences: h^2 f''/8 along each direction. Cells
    in which it is above a tenth of the distance between two contours are cut in four, and these again.

    Args:
        grid: The coarse grid, all of it measured.
        measure: ``measure(first[n], second[n]) -> values[1 + m, n]``.
        halvings: How often a cell is halved at most.
        levels: Levels of the contours, in ln L.
    """
    active = torch.ones(len(grid.first) - 1, len(grid.second) - 1, dtype=torch.bool)
    for _ in range(halvings):
        split = active & _unsettled(grid, levels)
        if not bool(split.any()):
            break
        grid = _halved(grid)
        wanted = _corners_of(split) & ~grid.measured
        i, j = wanted.nonzero(as_tuple=True)
        grid.values[:, i, j] = measure(grid.first[i], grid.second[j])
        grid = dataclasses.replace(grid, measured=grid.measured | wanted)
        active = split.repeat_interleave(2, 0).repeat_interleave(2, 1)
    return grid


def _unsettled(grid: PlaneGrid, levels: Tensor) -> Tensor:
    """The cells to halve, ``[S1 - 1, S2 - 1]``."""
    if not len(levels):
        return torch.zeros(len(grid.first) - 1, len(grid.second) - 1, dtype=torch.bool)
    log_loss = grid.values[0].log()
    corners = torch.stack([log_loss[:-1, :-1], log_loss[1:, :-1], log_loss[:-1, 1:], log_loss[1:, 1:]])
    along, across = _error(log_loss, grid.first, 0), _error(log_loss, grid.second, 1)
    error = along[:, :-1].maximum(along[:, 1:]) + across[:-1].maximum(across[1:])
    # Zero or infinite losses beside others: there is no line to interpolate on.
    is_mixed = ~torch.isfinite(corners).all(0) & (corners != corners[0]).any(0)
    reach = error.nan_to_num(0)
    low, high = (corners.amin(0) - reach).contiguous(), (corners.amax(0) + reach).contiguous()
    is_passed = torch.searchsorted(levels, low) != torch.searchsorted(levels, high)
    return is_mixed | (is_passed & (error > _TOLERANCE * (levels[1] - levels[0])))


def _error(values: Tensor, places: Tensor, axis: int) -> Tensor:
    """Error of linear interpolation in each interval of an axis, from the second differences at its two ends."""
    values = values.movedim(axis, 0)
    h = places.diff()[:, None]
    if len(places) < 3:
        error = torch.full_like(values[1:], torch.inf)
    else:
        slopes = values.diff(dim=0) / h
        second = 2 * (slopes[1:] - slopes[:-1]).abs() / (h[1:] + h[:-1])
        second = torch.cat([second[:1], second, second[-1:]])
        error = h.square() / 8 * second[1:].maximum(second[:-1])
    return error.movedim(0, axis)


def _halved(grid: PlaneGrid) -> PlaneGrid:
    """The grid with a point between any two; what is new is interpolated, the loss in ln L."""
    values = _with_middles(_with_middles(torch.cat([grid.values[:1].log(), grid.values[1:]]), 1), 2)
    values[0] = values[0].exp()
    values[:, ::2, ::2] = grid.values  # to the bit
    measured = torch.zeros(values.shape[1:], dtype=torch.bool)
    measured[::2, ::2] = grid.measured
    return PlaneGrid(_with_middles(grid.first, 0), _with_middles(grid.second, 0), values, measured)


def _with_middles(values: Tensor, axis: int) -> Tensor:
    values = values.movedim(axis, 0)
    finer = values.new_empty(2 * len(values) - 1, *values.shape[1:])
    finer[::2], finer[1::2] = values, 0.5 * (values[:-1] + values[1:])
    return finer.movedim(0, axis)


def _corners_of(cells: Tensor) -> Tensor:
    """The points of the halved grid that lie in some cells, edges included."""
    rows, columns = cells.shape
    points = torch.zeros(2 * rows + 1, 2 * columns + 1, dtype=torch.bool)
    for i in range(3):
        for j in range(3):
            points[i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2] |= cells
    return points
