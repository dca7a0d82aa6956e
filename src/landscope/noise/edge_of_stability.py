"""How near a training is to its edge of stability, and how much of the fluctuation is oscillation there."""

from __future__ import annotations

import dataclasses
import math
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_momentum, check_positive, check_strength
from landscope.directions.directions import Directions
from landscope.directions.hessian_eigenvectors import hessian_eigenvectors
from landscope.landscape.sharpness import batch_sharpness
from landscope.noise.oscillation import oscillation, oscillation_share
from landscope.protocols import Ensemble, LossLandscape, ProgressCallback, silent
from landscope.results import Result, stamp
from landscope.trajectory import Trajectory

__all__ = ["EdgeOfStability", "edge_of_stability", "edges", "largest_curvature"]

_Rate = TypeVar("_Rate", float, Tensor)

_RTOL = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class EdgeOfStability(
    Result,
    kind="edge_of_stability",
    dims={
        **dict.fromkeys(("pull", "share", "share_error", "predicted_share"), ("direction",)),
        **dict.fromkeys(("mode_share", "mode_share_error"), ("mode",)),
    },
):
    """Curvatures of a training against its step size, and the share of oscillation in its fluctuation.

    Args:
        batch_sharpness: Expected curvature of a minibatch's loss along its own gradient, over all trained weights.
        batch_sharpness_error: Its standard error over minibatches.
        sharpness: Largest eigenvalue lambda_1 of the Hessian of the whole loss, over all trained weights.
        bound: Curvature beyond which gradient descent diverges, 2 (1 + beta)/alpha less the weight decay; NaN where
            the step size is not one number.
        noise_bound: The bound of batch sharpness where the gradient noise outweighs the gradient,
            2 (1 - beta)/alpha less the weight decay; equal to ``bound`` without momentum.
        pull: alpha lambda_i along eigenvectors of the recorded weights, weight decay included, ``[k]``.
        share: Share of oscillation in sigma_i^2 along them, ``[k]``, see :class:`Oscillation`; NaN where not every step
            was recorded.
        share_error: Its standard error, ``[k]``.
        predicted_share: The share in a stationary bowl with the same alpha lambda_i and independent noise, ``[k]``;
            NaN where alpha lambda_i is not inside (0, 2 (1 + beta)).
        mode_share: Share of oscillation along the principal modes, ``[m]``.
        mode_share_error: Its standard error, ``[m]``.
        momentum: beta.
        n_batches: Number of minibatches in the batch sharpness.
    """

    batch_sharpness: float
    batch_sharpness_error: float
    sharpness: float
    bound: float
    noise_bound: float
    pull: Float[Tensor, " k"]
    share: Float[Tensor, " k"]
    share_error: Float[Tensor, " k"]
    predicted_share: Float[Tensor, " k"]
    mode_share: Float[Tensor, " m"]
    mode_share_error: Float[Tensor, " m"]
    momentum: float
    n_batches: int


def edge_of_stability(
    risk: LossLandscape,
    ensemble: Ensemble,
    w0: Float[Tensor, " N"],
    window: Trajectory,
    eigenvectors: Directions,
    modes: Directions,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    n_batches: int = 32,
    seed: int = 0,
    progress: ProgressCallback = silent,
) -> EdgeOfStability:
    r"""Batch sharpness and lambda_1 against the step size, and the share of oscillation along directions.

    .. math:: \lambda_1 \le \frac{2 (1 + \beta)}{\alpha}, \qquad
              S \approx \frac{2 (1 - \beta)}{\alpha} \;\text{to}\; \frac{2 (1 + \beta)}{\alpha}

    The first is the bound of gradient descent with heavy-ball momentum beta in a bowl. The batch sharpness S of SGD
    comes to rest at 2/alpha (Andreyev & Beneventano, arXiv 2412.20553), with momentum at the lower value where noise
    outweighs the gradient, whose steps then add up to alpha/(1 - beta), and at the higher one for large batches (arXiv
    2604.14108). Weight decay adds to every curvature. For optimisers with a metric of their own, such as Adam, pass a
    risk, an ensemble and directions in its coordinates, see :class:`landscope.landscape.Preconditioned`; or pass
    ``learning_rate=math.nan``, which leaves everything NaN that needs a bound.

    The cost is some 10 to 20 Hessian products of the whole loss for lambda_1, to one per cent, and one gradient and
    product of each of ``n_batches`` minibatches.

    Args:
        risk: The loss over all trained weights.
        ensemble: Its minibatch losses.
        w0: All trained weights at the end of the window.
        window: The recorded weights, which may be a part of them.
        eigenvectors: Hessian or Gauss-Newton eigenvectors of the recorded weights, with their curvatures as values.
        modes: Principal modes of the recorded weights.
        learning_rate: alpha.
        momentum: beta.
        weight_decay: Weight decay.
        n_batches: Number of minibatches for the batch sharpness.
        seed: Seed of the iterations.
        progress: Callback for the number of completed minibatches.

    Returns:
        The curvatures, bounds and shares.

    Raises:
        InputError: If shapes do not fit, there are fewer than three minibatches, or the learning rate is 0.

    Example:
        >>> import torch
        >>> from landscope.directions.principal import principal_modes
        >>> from landscope.synthetic import RandomSprings, sgd_in_bowl
        >>> springs = RandomSprings.draw(torch.tensor([1.0, 2.0, 3.0]), 50, seed=0)
        >>> rows = sgd_in_bowl(torch.tensor([5.0, 1.0]), 400, learning_rate=0.3, noise_variance=1.0, seed=0)
        >>> axes, window = Directions.of(torch.eye(2), values=torch.tensor([5.0, 1.0])), Trajectory.of(rows)
        >>> w0 = torch.zeros(3).double()
        >>> found = edge_of_stability(springs, springs, w0, window, axes, principal_modes(window), learning_rate=0.3)
        >>> round(found.bound, 2), bool(found.share[0] > 0.5 > found.share[1])
        (6.67, True)
    """
    if learning_rate == learning_rate:  # NaN says that none is known
        check_positive("learning_rate", learning_rate)
    check_momentum(momentum)
    check_strength("weight_decay", weight_decay)
    rough = batch_sharpness(ensemble, w0, n_batches=n_batches, progress=progress)
    pull = learning_rate * (eigenvectors.values.double() + weight_decay)
    shares = [_shares(window, directions) for directions in (eigenvectors, modes)]
    bound, noise_bound = edges(learning_rate, momentum, weight_decay)
    return EdgeOfStability(
        batch_sharpness=rough.value,
        batch_sharpness_error=rough.standard_error,
        sharpness=largest_curvature(risk, w0, seed=seed),
        bound=bound,
        noise_bound=noise_bound,
        pull=pull,
        share=shares[0][0],
        share_error=shares[0][1],
        predicted_share=oscillation_share(pull, momentum),
        mode_share=shares[1][0],
        mode_share_error=shares[1][1],
        momentum=momentum,
        n_batches=len(rough.quotient),
        provenance=stamp(learning_rate=learning_rate, weight_decay=weight_decay, n_batches=n_batches, seed=seed),
    )


def edges(learning_rate: _Rate, momentum: float, weight_decay: float) -> tuple[_Rate, _Rate]:
    """The bounds of :func:`edge_of_stability`, for gradient descent and for noisy minibatches."""
    return 2 * (1 + momentum) / learning_rate - weight_decay, 2 * (1 - momentum) / learning_rate - weight_decay


def largest_curvature(risk: LossLandscape, w0: Float[Tensor, " N"], *, seed: int = 0) -> float:
    """The largest eigenvalue lambda_1 of the Hessian, to one per cent, by some 10 to 20 products.

    Args:
        risk: Any landscape over two weights or more.
        w0: Point of the Hessian.
        seed: Seed of the iterations.

    Returns:
        lambda_1.

    Raises:
        InputError: If the iterations do not converge.

    Example:
        >>> from landscope.synthetic import QuadraticBowl
        >>> round(largest_curvature(QuadraticBowl(torch.tensor([1.0, 5.0, 3.0])), torch.zeros(3)), 3)
        5.0
    """
    return float(hessian_eigenvectors(risk, w0, 1, rtol=_RTOL, seed=seed).values[0])


def _shares(window: Trajectory, directions: Directions) -> tuple[Tensor, Tensor]:
    """Shares of oscillation with their errors; NaN where not every step was recorded."""
    if bool((window.steps.diff() != 1).any()):
        nothing = torch.full((len(directions.values),), math.nan, dtype=torch.float64)
        return nothing, nothing
    found = oscillation(window, directions)
    return found.share, found.standard_error
