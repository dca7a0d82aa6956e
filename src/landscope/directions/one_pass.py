"""Directions of combinations of rows that are known beforehand, from one pass over the rows of a trajectory."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_finite
from landscope.errors import InputError
from landscope.sketch import CountSketch
from landscope.trajectory import Trajectory

__all__ = ["Found", "best_in_span", "check_same_rows", "lengths_in"]

_PART = 2**16
"""Columns of long rows that are combined at once."""
_DEPENDENT = 1e-10
"""Share of the largest squared length at and below which a combination of unit vectors is rounding."""
_SAME = 0.05
"""Share of the sketch of a change by which that of the change of encoded weights may differ."""


@dataclasses.dataclass(frozen=True)
class Found:
    """What one pass finds.

    Args:
        directions: Orthonormal rows, ``[k, N]``.
        values: Variance of the rows along each, falling.
        coordinates: Coordinates of the rows along each, ``[T, k]``.
        combinations: Combination of the centred rows that each direction is, ``[T, k]``.
        mean: Mean of the rows.
        total: Variance of the rows over all directions.
    """

    directions: Float[Tensor, "k N"]
    values: Float[Tensor, " k"]
    coordinates: Float[Tensor, "T k"]
    combinations: Float[Tensor, "T k"]
    mean: Float[Tensor, " N"]
    total: float


def best_in_span(trajectory: Trajectory, combinations: Float[Tensor, "T l"]) -> Found:
    r"""The principal modes of a trajectory within the span of some combinations of its rows (Rayleigh and Ritz).

    .. math:: Y = U^\top X, \qquad Z = X Y^\top, \qquad Q = A Y, \qquad Z A^\top = L\, \mathrm{diag}(s)\, R^\top

    X are the centred rows, U the combinations and Q an orthonormal basis of the rows of Y; L and R are orthogonal. The
    directions are the rows of :math:`R^\top Q`, with variances :math:`s^2 / T`: those of all rows, not of a sample of
    them. Y and Z are formed together, some columns at a time.

    Args:
        trajectory: Rows w_t.
        combinations: Orthonormal columns.

    Returns:
        As many directions as there are combinations, or fewer where some are combinations of others.

    Raises:
        NonFiniteError: If a weight is NaN or infinite.
    """
    count, number = combinations.shape
    formed = torch.empty(number, trajectory.dim, dtype=torch.float64)
    products = torch.zeros(count, number, dtype=torch.float64)
    mean, total = torch.empty(trajectory.dim, dtype=torch.float64), 0.0
    for columns, panel in trajectory.panels():
        check_finite("recorded weights", panel, hint="Cut the trajectory before them with .window(stop=...).")
        mean[columns] = panel.sum(dim=0, dtype=torch.float64) / count
        rows = panel - mean[columns]
        part = combinations.T @ rows
        formed[:, columns] = part
        products.addmm_(rows, part.T)
        total += float(torch.linalg.vector_norm(rows)) ** 2
    basis = _orthonormal_basis(formed)
    left, lengths, right = torch.linalg.svd(products @ basis.T, full_matrices=False)
    turned = right @ basis
    directions = formed[: len(turned)]
    for part, turned_part in zip(formed.split(_PART, dim=1), directions.split(_PART, dim=1), strict=True):
        turned_part.copy_(turned @ part)
    return Found(
        directions=directions,
        values=lengths.square() / count,
        coordinates=left * lengths,
        combinations=combinations @ turned.T,
        mean=mean,
        total=total / count,
    )


def lengths_in(sketch: Trajectory, combinations: Float[Tensor, "T k"]) -> Float[Tensor, " k"]:
    """The lengths of combinations of centred rows, as those of the same combinations of their sketches."""
    squares = torch.zeros(combinations.shape[1], dtype=torch.float64)
    for _, panel in sketch.panels():
        rows = panel.double()
        squares += (combinations.T @ (rows - rows.mean(dim=0))).square().sum(dim=1)
    return squares.sqrt()


def _orthonormal_basis(rows: Float[Tensor, "l N"]) -> Float[Tensor, "rank l"]:
    """A matrix A for which the rows of A Y are orthonormal; those of Y may differ in length by any factor."""
    lengths = torch.linalg.vector_norm(rows, dim=1)
    products = sum(part @ part.T for part in rows.split(_PART, dim=1)) / torch.outer(lengths, lengths)
    values, vectors = torch.linalg.eigh(products)
    independent = values > _DEPENDENT * values[-1]
    return (vectors[:, independent] / values[independent].sqrt()).T / lengths


def check_same_rows(trajectory: Trajectory, sketch: Trajectory) -> CountSketch:
    """The map of a trajectory that holds the sketches of the rows of another one.

    Raises:
        InputError: If it holds no sketches, or those of other steps or of other weights.
    """
    made = sketch.sketch
    if made is None:
        raise InputError(
            expected="the sketches of the rows, as TrajectoryRecorder(..., sketch=4096) records them",
            got=f"a trajectory of {sketch.dim} weights",
            hint="Call principal_modes(weights, n_modes, sketch=sketches).",
        )  # fmt: skip
    if trajectory.dim != made.dim:
        raise InputError(
            expected=f"rows of the {made.dim} weights that were sketched", got=f"{trajectory.dim}",
            hint="Record both with the same select=.",
        )  # fmt: skip
    if not torch.equal(trajectory.steps, sketch.steps):
        raise InputError(
            expected="sketches of the same steps as the rows",
            got=f"{len(sketch)} sketches of the steps {int(sketch.steps[0])} to {int(sketch.steps[-1])} for "
            f"{len(trajectory)} rows of {int(trajectory.steps[0])} to {int(trajectory.steps[-1])}",
            hint="Cut and thin both alike, with .window(start, stop) and .thin(every).",
        )  # fmt: skip
    ends = [0, len(trajectory) - 1]
    change, sketched = _change(trajectory, ends), _change(sketch, ends)
    rounding = made.rounding(sketch.row(0).dtype) * float(sketch.row(0).double().norm())
    if float((made(change) - sketched).norm()) > _SAME * float(sketched.norm()) + rounding:
        raise InputError(
            expected="the sketches of the rows", got="those of other weights",
            hint="Record the rows and the sketches in the same training, with two recorders.",
        )  # fmt: skip
    return made


def _change(trajectory: Trajectory, ends: list[int]) -> Tensor:
    first, last = (trajectory.row(row).double() for row in ends)
    return last - first
