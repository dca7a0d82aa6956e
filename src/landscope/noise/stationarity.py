"""Is a window stationary, direction by direction? Two relations that hold only there."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count, check_positive
from landscope.derivatives import gradient_function
from landscope.directions.directions import Directions
from landscope.directions.moving import moving, rounding_strength
from landscope.noise.finite_window import window_factor
from landscope.noise.velocity import integrated_time
from landscope.protocols import LossLandscape, ProgressCallback
from landscope.results import Result, stamp
from landscope.trajectory import Trajectory
from landscope.trajectory.spacing import check_every_step

__all__ = ["LyapunovResidual", "YaidaRelation", "lyapunov_residual", "yaida_relation"]

_FEWEST_POINTS = 10
_FEWEST_INDEPENDENT = 40
"""Below this the interval of two standard errors holds the truth in 80 % of stationary bowls instead of 90 to 95 %."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class YaidaRelation(
    Result,
    kind="yaida_relation",
    dims=dict.fromkeys(
        ("restoring", "driving", "ratio", "stderr", "effective_curvature", "expected", "n_effective"), ("mode",)
    ),
):
    """Both sides of Yaida's relation along each direction; the ratio is NaN where the window does not move.

    Args:
        restoring: <(theta_i - mean) d_i L>, ``[k]``: the work of the landscape.
        driving: (alpha/2) <(d_i L^mu)^2> = D_i/(2 alpha): the work of the noise.
        ratio: restoring/driving; ``expected`` at stationarity, 0 for free diffusion.
        stderr: Standard error of the ratio; NaN where the points hold fewer than 40 independent values.
        effective_curvature: <(theta_i - mean) d_i L>/<(theta_i - mean)^2>: the force of all weights along direction i
            for each unit of theta_i.
        expected: kappa(alpha lambda_i T) of the effective curvature: the ratio of a stationary process in a centred
            window of this length (:func:`landscope.noise.window_factor`); 0 where the curvature is not positive.
        n_effective: Independent values among the points, by their integrated autocorrelation time.
        n_points: Points of the trajectory at which the gradient was taken.
    """

    restoring: Float[Tensor, " k"]
    driving: Float[Tensor, " k"]
    ratio: Float[Tensor, " k"]
    stderr: Float[Tensor, " k"]
    effective_curvature: Float[Tensor, " k"]
    expected: Float[Tensor, " k"]
    n_effective: Float[Tensor, " k"]
    n_points: int


def yaida_relation(
    trajectory: Trajectory,
    landscape: LossLandscape,
    modes: Directions,
    *,
    learning_rate: float,
    parameters: Iterable[str] | None = None,
    n_points: int = 100,
    progress: ProgressCallback | None = None,
) -> YaidaRelation:
    r"""Test stationarity along each direction (Yaida, arXiv 1810.00004).

    .. math:: \langle \theta_i\, \partial_i L \rangle = \frac\alpha2 \langle (\partial_i L^\mu)^2 \rangle

    holds for plain SGD without momentum, at stationarity, with independent minibatches, in a window without end. In a
    centred window of T steps the ratio of both sides is :math:`\kappa(\alpha\lambda_i T)` instead of 1; it stands
    beside the ratio for the effective curvature

    .. math:: \lambda_i = \langle \theta_i\, \partial_i L \rangle / \langle \theta_i^2 \rangle

    Draw minibatches with replacement: reshuffled epochs cancel their own noise, and give a ratio far below that in a
    stationary bowl too. The left side takes full gradients at points spread evenly over the window; the right side is
    D_i/(2 alpha), from the recorded steps. Where only some weights are recorded, the others have their values in the
    landscape: if they move too, record them all, and name those of the directions by ``parameters``.

    Args:
        trajectory: The window, of plain SGD.
        landscape: The risk.
        modes: Principal modes, or any other directions.
        learning_rate: Learning rate alpha.
        parameters: Names of the parameters that the directions are of, where the window and the landscape have more.
        n_points: Number of full gradients.
        progress: Callback for the number of completed gradients.

    Returns:
        Both sides and their ratio.

    Raises:
        InputError: If the window has other weights, is too short or thinned, or the learning rate is not positive.

    Example:
        >>> import torch
        >>> from landscope.directions.principal import principal_modes
        >>> from landscope.synthetic import QuadraticBowl, sgd_in_bowl
        >>> curvature = torch.tensor([1.0, 4.0])
        >>> path = sgd_in_bowl(curvature, 20_000, learning_rate=0.1, noise_variance=1.0, seed=0)
        >>> window = Trajectory.of(path)
        >>> modes = principal_modes(window)
        >>> found = yaida_relation(window, QuadraticBowl(curvature), modes, learning_rate=0.1, n_points=5000)
        >>> bool(((found.ratio - 1).abs() < 0.2).all())
        True
    """
    check_positive("learning_rate", learning_rate)
    check_count("n_points", n_points, minimum=_FEWEST_POINTS)
    trajectory.check(minimum_rows=n_points)
    check_every_step(trajectory, "the strength of single steps")
    gradient, (recorded, columns) = gradient_function(landscape), _of_parameters(trajectory, parameters)
    theta = modes.project_trajectory(recorded)
    centred = theta - theta.mean(dim=0)
    # The gradient at w_t goes with the step that leaves w_t: stratified points over all but the last row.
    rows = torch.linspace(0, len(trajectory) - 2, n_points).round().long().tolist()
    products = torch.empty(n_points, theta.shape[1], dtype=torch.float64)
    for number, row in enumerate(rows):
        force = modes.directions @ gradient(trajectory.row(row)).cpu().to(modes.directions)[columns]
        products[number] = centred[row] * force
        if progress is not None:
            progress(number + 1, n_points)
    strength = theta.diff(dim=0).square().mean(dim=0)
    driving = strength / (2 * learning_rate)
    moves = moving(centred.square().mean(dim=0), strength, rounding_strength(modes.directions, recorded))
    restoring = products.mean(dim=0)
    effective = n_points / integrated_time(products - restoring)
    curvature = restoring / torch.where(moves, centred[rows].square().mean(dim=0), math.nan)
    enough = moves & (effective >= _FEWEST_INDEPENDENT)
    return YaidaRelation(
        restoring=restoring,
        driving=driving,
        ratio=restoring / torch.where(moves, driving, math.nan),
        stderr=products.std(dim=0) / effective.sqrt() / torch.where(enough, driving, math.nan),
        effective_curvature=curvature,
        expected=window_factor((learning_rate * curvature * len(trajectory)).clamp(min=0)),
        n_effective=effective,
        n_points=n_points,
        provenance=stamp(learning_rate=learning_rate, n_points=n_points),
    )


def _of_parameters(trajectory: Trajectory, names: Iterable[str] | None) -> tuple[Trajectory, Tensor]:
    """The part of a trajectory in some parameters, and the positions of its columns; all of it by default."""
    if names is None:
        return trajectory, torch.arange(trajectory.dim)
    part = trajectory.of_parameters(names)
    assert trajectory.space is not None and part.space is not None  # noqa: S101, PT018 - of_parameters made sure
    return part, trajectory.space.columns(part.space.names)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LyapunovResidual(
    Result,
    kind="lyapunov_residual",
    dims={"restoring": ("mode", "other"), "driving": ("mode", "other"), "ratio": ("mode",)},
):
    """Both sides of the Lyapunov equation in a basis.

    Args:
        restoring: H Sigma + Sigma H, ``[k, k]``.
        driving: alpha C, ``[k, k]``.
        ratio: Diagonal of restoring over that of driving: 1 at stationarity.
        residual: Norm of the difference over the norm of the driving side.
    """

    restoring: Float[Tensor, "k k"]
    driving: Float[Tensor, "k k"]
    ratio: Float[Tensor, " k"]
    residual: float


def lyapunov_residual(
    trajectory: Trajectory,
    product: Callable[[Float[Tensor, " N"], Float[Tensor, " N"]], Float[Tensor, " N"]],
    modes: Directions,
    covariance: Float[Tensor, "k k"],
    *,
    learning_rate: float,
    parameters: Iterable[str] | None = None,
) -> LyapunovResidual:
    r"""Test :math:`H \Sigma + \Sigma H = \alpha C` (small steps, white noise), seen along given directions.

    It holds for plain SGD with independent minibatches, as :func:`yaida_relation` does. The covariance of the weights
    is taken whole, so no direction is left out of the products; only the result is
    projected. (Xiong et al., arXiv 2207.04932, write it as H S + S H^T = 2 D_m.)

    Args:
        trajectory: The window.
        product: ``(w, v) -> Hess L(w) v``, as ``risk.hessian_vector_product``; taken at the last row.
        modes: A few directions p_i, orthonormal.
        covariance: C_ij of the gradient noise along the same directions, as of :func:`landscope.noise.gradient_noise`.
        learning_rate: Learning rate alpha.
        parameters: Names of the parameters that the directions are of, where the window and the product have more.

    Returns:
        Both sides and their distance.

    Raises:
        InputError: If the window has other weights, or the learning rate is not positive.

    Example:
        >>> import torch
        >>> from landscope.directions.principal import principal_modes
        >>> from landscope.synthetic import sgd_in_bowl
        >>> curvature = torch.tensor([1.0, 2.0]).double()
        >>> window = Trajectory.of(sgd_in_bowl(curvature, 50_000, learning_rate=0.01, noise_variance=1.0, seed=0))
        >>> modes = principal_modes(window)
        >>> covariance = torch.eye(2).double()
        >>> found = lyapunov_residual(window, lambda w, v: curvature * v, modes, covariance, learning_rate=0.01)
        >>> found.residual < 0.3
        True
    """
    check_positive("learning_rate", learning_rate)
    recorded, columns = _of_parameters(trajectory, parameters)
    theta = modes.project_trajectory(recorded)
    centred = theta - theta.mean(dim=0)
    mean = sum(block.double().sum(dim=0) for block in trajectory.blocks()) / len(trajectory)
    cross = torch.zeros(theta.shape[1], trajectory.dim, dtype=torch.float64)
    start = 0
    for block in trajectory.blocks():
        cross += centred[start : start + len(block)].T @ (block.double() - mean)
        start += len(block)
    cross /= len(trajectory)
    w0 = trajectory.row(-1)
    forces = torch.stack([product(w0, row.to(w0)).cpu().to(modes.directions)[columns] for row in cross])
    pulled = forces @ modes.directions.T
    restoring, driving = pulled + pulled.T, learning_rate * covariance
    return LyapunovResidual(
        restoring=restoring,
        driving=driving,
        ratio=restoring.diagonal() / driving.diagonal(),
        residual=float(torch.linalg.matrix_norm(restoring - driving) / torch.linalg.matrix_norm(driving)),
        provenance=stamp(learning_rate=learning_rate),
    )
