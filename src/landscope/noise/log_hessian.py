"""The exact curvature of the log-loss from the minibatch losses, which Eqs. 9 and 10 approximate."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.directions.directions import Directions, rows_of
from landscope.errors import InputError
from landscope.minibatch_lines import count_left_out, start_batch_lines
from landscope.protocols import Ensemble, ProgressCallback
from landscope.results import Result, stamp

__all__ = ["LogHessian", "log_hessian"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LogHessian(
    Result,
    kind="log_hessian",
    dims={
        **dict.fromkeys(("log_hessian", "mean_curvature", "gradient_covariance"), ("mode", "other")),
        "slope": ("mode",), "gradients": ("batch", "mode"), "curvatures": ("batch", "mode", "other"),
        "weight": ("batch",),
    },
):  # fmt: skip
    """First and second derivatives of ln L at w0 along a few modes, with the contribution of each minibatch.

    Args:
        slope: Slope E[g_i] of ln L, ``[k]``; for the drifting mode it is beta of Eq. 10.
        log_hessian: Hessian of ln L, the sum of mean_curvature and gradient_covariance, ``[k, k]``.
        mean_curvature: Mean curvature E[M_ij^mu] of the springs, ``[k, k]``.
        gradient_covariance: Covariance Cov[g_i, g_j], from the scatter of the springs about w0, ``[k, k]``.
        gradients: Gradients g^mu = grad ln L^mu, ``[b, k]``.
        curvatures: Hessians M^mu = Hess ln L^mu, ``[b, k, k]``; off-diagonal elements test the independence of modes.
        weight: Weights L^mu(w0) over their sum, ``[b]``, for E and Cov.
        off_diagonal: Root mean square over minibatches and pairs i != j of M_ij^mu/sqrt(M_ii^mu M_jj^mu), if both
            diagonal elements are positive; 0 for independent modes.
        n_left_out: Number of samples outside all minibatches.
    """

    slope: Float[Tensor, " k"]
    log_hessian: Float[Tensor, "k k"]
    mean_curvature: Float[Tensor, "k k"]
    gradient_covariance: Float[Tensor, "k k"]
    gradients: Float[Tensor, "b k"]
    curvatures: Float[Tensor, "b k k"]
    weight: Float[Tensor, " b"]
    off_diagonal: float
    n_left_out: int


def log_hessian(
    ensemble: Ensemble,
    w0: Float[Tensor, " N"],
    directions: Directions | Float[Tensor, "k N"],
    *,
    progress: ProgressCallback | None = None,
) -> LogHessian:
    r"""Exact curvature of ln L at w0 along modes, from the minibatch losses.

    With :math:`g = \nabla \ln L^\mu`, :math:`M^\mu = \nabla^2 \ln L^\mu` and weights proportional to
    :math:`L^\mu(w_0)`, for L the mean over minibatches,

    .. math:: \nabla \ln L = E[g], \qquad \nabla^2 \ln L = E[M^\mu] + \mathrm{Cov}[g].

    This is the identity of a log-sum-exp; Eq. 10 of the paper is its mean-field form.

    Args:
        ensemble: A landscape with minibatch losses.
        w0: Point of the derivatives.
        directions: A few directions p_i; the cost grows with the square of their number.
        progress: Callback for the number of completed pairs of directions.

    Returns:
        The derivatives and their two terms, in float64.

    Raises:
        InputError: If a shape, dtype or device is wrong, directions are zero or parallel, or the loss of a minibatch at
            w0 is zero, so that it has no logarithm.
        NonFiniteError: If a minibatch loss at w0 is not finite.

    Example:
        >>> import torch
        >>> from landscope.synthetic import RandomSprings
        >>> springs = RandomSprings(torch.full((3, 1, 1), 4.0), torch.tensor([[-1.0], [0.0], [1.0]]), torch.ones(3))
        >>> derivatives = log_hessian(springs, torch.zeros(1), torch.eye(1))
        >>> round(float(derivatives.mean_curvature), 4), bool(derivatives.gradient_covariance > 0)
        (4.0, True)
    """
    directions = rows_of(directions)
    lines, loss = start_batch_lines(ensemble, w0, directions)
    if bool((loss <= 0).any()):
        raise InputError(
            expected="positive minibatch losses at w0",
            got=f"{int((loss <= 0).sum())} of {len(loss)} at zero",
            hint="Use larger minibatches, or a loss that is never zero.",
        )
    count = len(directions)
    _, slopes = lines.slopes(torch.arange(count), torch.zeros(count, dtype=torch.float64))
    first, second = torch.triu_indices(count, count)
    hessians = torch.empty(count, count, len(loss), dtype=torch.float64)
    for number, (i, j) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        hessians[i, j] = hessians[j, i] = lines.curvatures(first[[number]], second[[number]])[0]
        if progress is not None:
            progress(number + 1, len(first))
    g = (slopes / loss).T
    curvatures = (hessians / loss).permute(2, 0, 1) - g[:, :, None] * g[:, None, :]
    weight = loss / loss.sum()
    slope = weight @ g
    mean_curvature = torch.einsum("b,bij->ij", weight, curvatures)
    covariance = torch.einsum("b,bi,bj->ij", weight, g - slope, g - slope)
    return LogHessian(
        slope=slope,
        log_hessian=mean_curvature + covariance,
        mean_curvature=mean_curvature,
        gradient_covariance=covariance,
        gradients=g,
        curvatures=curvatures,
        weight=weight,
        off_diagonal=_off_diagonal(curvatures),
        n_left_out=count_left_out(ensemble),
        provenance=stamp(),
    )


def _off_diagonal(curvatures: Float[Tensor, "b k k"]) -> float:
    diagonal = curvatures.diagonal(dim1=1, dim2=2)
    scale = diagonal[:, :, None] * diagonal[:, None, :]
    counted = (diagonal > 0)[:, :, None] & (diagonal > 0)[:, None, :]
    counted &= ~torch.eye(curvatures.shape[1], dtype=torch.bool)
    return float((curvatures.square() / scale)[counted].mean().sqrt())
