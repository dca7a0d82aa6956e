"""Gradient noise along directions (paper, below Eq. 4), and the number of minibatches that reveal the gradient."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_positive, check_start
from landscope.directions.directions import Directions, rows_of
from landscope.errors import InputError
from landscope.minibatch_lines import count_left_out, gradients_of
from landscope.protocols import Ensemble, ProgressCallback
from landscope.results import Result, stamp

__all__ = ["GradientNoise", "gradient_noise"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class GradientNoise(
    Result,
    kind="gradient_noise",
    dims={
        **dict.fromkeys(("mean", "variance", "mean_square", "minibatches_needed"), ("mode",)),
        "covariance": ("mode", "other"),
    },
):
    """Statistics of minibatch gradients at one point along directions, without the factor alpha of Eq. 4.

    Args:
        mean: Gradient of the loss along each direction, ``[k]``.
        covariance: Covariance C_ij = <d_i delta L^mu d_j delta L^mu>, divided by the number of minibatches, ``[k, k]``.
        variance: Variance C_ii, ``[k]``.
        mean_square: Mean square <(d_i L^mu)^2>, ``[k]``; at fixed weights D_i is exactly alpha^2 times this.
        minibatches_needed: Ratio C_ii/mean_i^2, the number of independent minibatches whose mean gradient has a
            standard error as large as the gradient, ``[k]``; infinite if the gradient is zero.
        n_batches: Number of minibatches.
        n_left_out: Number of samples outside all minibatches.
    """

    mean: Float[Tensor, " k"]
    covariance: Float[Tensor, "k k"]
    variance: Float[Tensor, " k"]
    mean_square: Float[Tensor, " k"]
    minibatches_needed: Float[Tensor, " k"]
    n_batches: int
    n_left_out: int

    def velocity_variance(self, learning_rate: float) -> Float[Tensor, " k"]:
        """Velocity variance alpha^2 <(d_i L^mu)^2> of plain SGD here, for a ``learning_rate`` alpha (exact Eq. 12).

        Raises:
            InputError: If the learning rate is not positive.
        """
        return check_positive("learning_rate", learning_rate) ** 2 * self.mean_square

    def temperature(self, learning_rate: float) -> Float[Tensor, " k"]:
        """Active temperature T_i(0) = alpha C_ii/2 at a ``learning_rate`` alpha (Eq. 15 at w0), in units of the loss.

        Raises:
            InputError: If the learning rate is not positive.
        """
        return check_positive("learning_rate", learning_rate) / 2 * self.variance


def gradient_noise(
    ensemble: Ensemble,
    w0: Float[Tensor, " N"],
    directions: Directions | Float[Tensor, "k N"],
    *,
    progress: ProgressCallback | None = None,
) -> GradientNoise:
    r"""Mean and covariance of the minibatch gradients at w0, in any basis.

    .. math:: C_{ij} = \left\langle \partial_i \delta L^\mu\, \partial_j \delta L^\mu \right\rangle_\mu,
              \qquad \delta L^\mu = L^\mu - L

    (paper, below Eq. 4, divided by alpha squared). The cost is one gradient for each minibatch, for any number of
    directions.

    Args:
        ensemble: A landscape with minibatch losses.
        w0: Point of the gradients.
        directions: Directions p_i; they are not normalised.
        progress: Callback for the number of completed minibatches.

    Returns:
        The statistics, in float64.

    Raises:
        InputError: If a shape, dtype or device is wrong, directions are zero or parallel, or there are fewer than
            three minibatches.
        NonFiniteError: If w0, a direction or a gradient is not finite.

    Example:
        >>> import torch
        >>> from landscope.synthetic import RandomSprings
        >>> centres = torch.tensor([[-1.0], [1.0], [1.0], [-1.0]])
        >>> springs = RandomSprings(torch.full((4, 1, 1), 2.0), centres, torch.ones(4))
        >>> noise = gradient_noise(springs, torch.zeros(1), torch.eye(1))
        >>> float(noise.mean), round(float(noise.variance / (2 * torch.e) ** 2), 6)
        (0.0, 1.0)
    """
    directions = rows_of(directions)
    w0, directions = check_start(w0, directions)
    rows = gradients_of(ensemble, w0, directions, progress)
    if len(rows) < 3:
        raise InputError(
            expected="an ensemble of at least 3 minibatches", got=f"{len(rows)}", hint="Use a smaller batch size."
        )
    mean = rows.mean(dim=0)
    centred = rows - mean
    covariance = centred.T @ centred / len(rows)
    variance = covariance.diagonal().clone()
    return GradientNoise(
        mean=mean,
        covariance=covariance,
        variance=variance,
        mean_square=rows.square().mean(dim=0),
        minibatches_needed=torch.where(mean != 0, variance / mean.square(), math.inf),
        n_batches=len(rows),
        n_left_out=count_left_out(ensemble),
        provenance=stamp(),
    )
