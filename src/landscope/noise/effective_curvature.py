"""The curvature that a direction meets while all weights move, with its uncertainty."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count
from landscope.derivatives import gradient_function
from landscope.directions.directions import Directions
from landscope.directions.moving import moving
from landscope.errors import InputError
from landscope.noise.velocity import integrated_time
from landscope.protocols import LossLandscape, ProgressCallback
from landscope.results import Result, stamp
from landscope.trajectory import Trajectory

__all__ = ["EffectiveCurvature", "effective_curvature", "effective_curvature_at"]

_FEWEST_POINTS = 5
"""A slope and its jackknife; with fewer points the interval is of no use."""
_BLOCKS = 10
_ROUNDING = 1e-12


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class EffectiveCurvature(
    Result,
    kind="effective_curvature",
    dims={
        **dict.fromkeys(("curvature", "stderr", "local_curvature", "n_effective"), ("mode",)),
        "moments": ("block", "moment", "mode"),
    },
):
    """The force of all weights along each direction for each unit of displacement, beside the curvature at one point.

    Args:
        curvature: lambda_eff,i, ``[k]``; NaN where the points do not move.
        stderr: Its standard error, from a jackknife over blocks of time; NaN where the points hold fewer independent
            values than there are blocks.
        local_curvature: H_ii = p_i' H p_i of the recorded weights at w0; NaN where it was not given.
        n_effective: Independent values among the points, by the autocorrelation of the force that the slope leaves.
        moments: Of each block its share of the points, and its part of the means of theta, d_i L, theta squared and
            theta d_i L, ``[blocks, 5, k]``.
        n_points: Points at which the gradient was taken.
        directions: Name of the directions.
    """

    curvature: Float[Tensor, " k"]
    stderr: Float[Tensor, " k"]
    local_curvature: Float[Tensor, " k"]
    n_effective: Float[Tensor, " k"]
    moments: Float[Tensor, "b 5 k"]
    n_points: int
    directions: str

    @property
    def n_blocks(self) -> int:
        """Blocks of the jackknife."""
        return len(self.moments)

    @property
    def without_each(self) -> Float[Tensor, "b k"]:
        """lambda_eff without each block in turn."""
        return _slope(self.moments.sum(dim=0) - self.moments)

    def part(self, part: slice) -> EffectiveCurvature:
        """The directions in the slice ``part``."""
        fields = ("curvature", "stderr", "local_curvature", "n_effective", "moments")
        return dataclasses.replace(self, **{name: getattr(self, name)[..., part] for name in fields})


def effective_curvature(
    trajectory: Trajectory,
    landscape: LossLandscape,
    directions: Directions,
    *,
    parameters: Iterable[str] | None = None,
    local_curvature: Float[Tensor, " k"] | None = None,
    n_points: int = 100,
    progress: ProgressCallback | None = None,
) -> EffectiveCurvature:
    r"""Measure the curvature that each direction meets on a window in which all weights move.

    .. math:: \lambda_{eff,i} = \frac{\langle (\theta_i - \bar\theta_i)\, \partial_i L \rangle}
              {\langle (\theta_i - \bar\theta_i)^2 \rangle}

    over ``n_points`` full gradients spread evenly over the window. It is H_ii where the other weights rest, or move
    independently of theta_i; where they move with it, as layers of one network do, it is not. Any optimiser may have
    made the window. The cost is ``n_points`` full gradients.

    Args:
        trajectory: The window, of all weights that move.
        landscape: The risk over the same weights.
        directions: Directions p_i.
        parameters: Names of the parameters that the directions are of, where the window and the landscape have more.
        local_curvature: H_ii, to stand beside the result, as of :func:`landscope.landscape.directional_curvature`.
        n_points: Number of full gradients.
        progress: Callback for the number of completed gradients.

    Returns:
        The curvatures with their standard errors.

    Raises:
        InputError: If the window has other weights or too few rows, or fewer than five points are asked for.

    Example:
        A quadratic of two weights, of which the first is looked at. The second follows it:

        >>> import torch
        >>> hessian = torch.tensor([[2.0, 1.0], [1.0, 2.0]]).double()
        >>> w = torch.randn(400, 1, generator=torch.Generator().manual_seed(0)).double() * torch.tensor([1.0, -0.5])
        >>> first = Directions.of(torch.tensor([[1.0, 0.0]]))
        >>> found = effective_curvature(Trajectory.of(w), lambda w: 0.5 * w @ hessian @ w, first)
        >>> round(float(found.curvature[0]), 6)
        1.5
    """
    check_count("n_points", n_points, minimum=_FEWEST_POINTS)
    trajectory.check(minimum_rows=n_points)
    gradient, recorded, columns = gradient_function(landscape), trajectory, slice(None)
    if parameters is not None:
        recorded = trajectory.of_parameters(parameters)
        assert trajectory.space is not None and recorded.space is not None  # noqa: S101, PT018 - it made sure
        columns = trajectory.space.columns(recorded.space.names)
    theta = directions.project_trajectory(recorded)
    rows = torch.linspace(0, len(trajectory) - 1, n_points).round().long()
    forces = torch.empty(n_points, theta.shape[1], dtype=torch.float64)
    for number, row in enumerate(rows.tolist()):
        slope = gradient(trajectory.row(row)).cpu().to(directions.directions)
        forces[number] = directions.directions @ slope[columns]
        if progress is not None:
            progress(number + 1, n_points)
    return effective_curvature_at(theta[rows], forces, local_curvature=local_curvature, directions=directions.name)


def effective_curvature_at(
    coordinates: Float[Tensor, "n k"],
    forces: Float[Tensor, "n k"],
    *,
    local_curvature: Float[Tensor, " k"] | None = None,
    directions: str = "directions",
) -> EffectiveCurvature:
    r"""The effective curvature from coordinates and derivatives at some points of a window, in order of time.

    With :math:`s_j` the value without block j of b blocks, :math:`\mathrm{se}^2 = \frac{b-1}{b}\sum_j (s_j - \bar
    s)^2`. There are ten blocks, or one for each point where there are fewer.

    Args:
        coordinates: theta_i at the points.
        forces: d_i L at the same points, with all weights where they were.
        local_curvature: H_ii, to stand beside the result.
        directions: Name of the directions.

    Returns:
        The curvatures with their standard errors.

    Raises:
        InputError: If there are fewer than five points, or the shapes differ.

    Example:
        >>> import torch
        >>> theta = torch.arange(20.0).double()[:, None]
        >>> found = effective_curvature_at(theta, 3 * theta + 1)
        >>> round(float(found.curvature[0]), 6), round(float(found.stderr[0]), 6)
        (3.0, 0.0)
    """
    count = check_count("points of the window", len(coordinates), minimum=_FEWEST_POINTS)
    if coordinates.shape != forces.shape:
        raise InputError(
            expected=f"derivatives of shape {list(coordinates.shape)}, as the coordinates have",
            got=f"{list(forces.shape)}",
            hint="Take both at the same points.",
        )
    # About their means, where the differences below lose no digits.
    theta = coordinates.double() - coordinates.double().mean(dim=0)
    force = forces.double() - forces.double().mean(dim=0)
    moments = torch.stack([torch.ones_like(theta), theta, force, theta.square(), theta * force], dim=1) / count
    blocks = torch.stack([part.sum(dim=0) for part in moments.tensor_split(min(_BLOCKS, count))])
    moves = moving(theta.square().mean(dim=0))
    curvature = torch.where(moves, _slope(blocks.sum(dim=0)), math.nan)
    left = theta * (force - curvature.nan_to_num() * theta)
    effective = count / integrated_time(left - left.mean(dim=0))
    # Where the force is linear in theta, only rounding is left, and its order in time means nothing.
    rounding = left.square().mean(dim=0) <= _ROUNDING**2 * (theta * force).square().mean(dim=0)
    effective = torch.where(rounding, float(count), effective)
    without = _slope(blocks.sum(dim=0) - blocks)
    scatter = (without - without.mean(dim=0)).square().sum(dim=0)
    stderr = (scatter * (len(blocks) - 1) / len(blocks)).sqrt()
    independent = moves & (effective >= len(blocks) - 0.5)
    return EffectiveCurvature(
        curvature=curvature,
        stderr=torch.where(independent, stderr, math.nan),
        local_curvature=torch.full_like(curvature, math.nan) if local_curvature is None else local_curvature.double(),
        n_effective=effective,
        moments=blocks,
        n_points=count,
        directions=directions,
        provenance=stamp(n_points=count, directions=directions),
    )


def _slope(moments: Float[Tensor, "*b 5 k"]) -> Float[Tensor, "*b k"]:
    """Slope of the force on the coordinate, from sums over the points."""
    share, theta, force, square, product = moments.unbind(dim=-2)
    power = square / share - (theta / share).square()
    return (product / share - theta * force / share.square()) / torch.where(power > 0, power, math.nan)
