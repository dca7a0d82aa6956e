"""Batch sharpness: the curvature of a minibatch's loss along its own gradient (edge of stability of SGD)."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count, check_finite, check_point, device_with_float64
from landscope.derivatives import hessian_times
from landscope.errors import InputError
from landscope.minibatch_lines import count_left_out
from landscope.protocols import Ensemble, ProgressCallback, silent
from landscope.results import Result, stamp

__all__ = ["BatchSharpness", "batch_sharpness"]

_MIN_BATCHES = 3


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class BatchSharpness(
    Result, kind="batch_sharpness", dims=dict.fromkeys(("quotient", "gradient_square"), ("batch",))
):  # fmt: skip
    """Curvature of minibatch losses along their own gradients at one point.

    Args:
        value: Batch sharpness: the mean of the quotients; NaN if fewer than three minibatches have a gradient.
        standard_error: Standard error of the mean, from the spread over minibatches.
        quotient: Rayleigh quotient of each minibatch, ``[batches]``; NaN where the gradient is zero.
        gradient_square: Squared norm of each minibatch gradient, ``[batches]``.
        n_left_out: Number of samples outside all minibatches of the ensemble.
    """

    value: float
    standard_error: float
    quotient: Float[Tensor, " batches"]
    gradient_square: Float[Tensor, " batches"]
    n_left_out: int


def batch_sharpness(
    ensemble: Ensemble, w0: Float[Tensor, " N"], *, n_batches: int = 32, progress: ProgressCallback = silent
) -> BatchSharpness:
    r"""The expected curvature of a minibatch's loss along its own gradient.

    .. math:: S = \left\langle \frac{g_\mu^\top H_\mu\, g_\mu}{g_\mu^\top g_\mu} \right\rangle_\mu, \qquad
              g_\mu = \nabla L^\mu(w_0), \quad H_\mu = \nabla^2 L^\mu(w_0)

    (Andreyev & Beneventano, arXiv 2412.20553). A step of plain SGD changes the loss of its own minibatch, to second
    order, by :math:`-\alpha |g_\mu|^2 (1 - \alpha S_\mu/2)`: at S = 2/alpha it lowers that loss no more, which is the
    edge of stability of SGD.

    The cost is one gradient and one Hessian product of each of the ``n_batches`` minibatches. Minibatches of
    :meth:`landscope.EmpiricalRisk.minibatches` are evaluated in eval mode: batch normalisation has its kept statistics,
    and not those of each minibatch as in training.

    Args:
        ensemble: A landscape with minibatch losses, over all weights that are trained.
        w0: Point of the gradients.
        n_batches: Largest number of minibatches, from the first; shuffle them with a seed.
        progress: Callback for the number of completed minibatches.

    Returns:
        The batch sharpness with its standard error.

    Raises:
        InputError: If the landscape has no minibatch losses, or fewer than three of them.
        NonFiniteError: If a gradient or a product is not finite.

    Example:
        In an isotropic bowl every direction has the same curvature.

        >>> import torch
        >>> from landscope.synthetic import RandomSprings
        >>> springs = RandomSprings.draw(torch.tensor([2.0, 2.0]), 50, seed=0)
        >>> found = batch_sharpness(springs, torch.zeros(2).double())
        >>> len(found.quotient), found.value > 0, found.standard_error > 0
        (32, True, True)
    """
    check_count("n_batches", n_batches, minimum=_MIN_BATCHES)
    if not isinstance(ensemble, Ensemble):
        raise InputError(
            expected="an ensemble of minibatch losses", got=type(ensemble).__name__,
            hint="Pass risk.minibatches(batch_size), or a landscape with batch_losses(w[..., N]) -> L[..., batches].",
        )  # fmt: skip
    w0 = check_point(w0)
    host = device_with_float64(w0.device)
    gradients, product = _gradients(ensemble, w0, n_batches), _product(ensemble)
    quotients, squares = [], []
    for number, gradient in enumerate(gradients):
        along = gradient.to(host).double()
        curved = product(w0, number, gradient).to(host).double()
        squares.append(along @ along)
        quotients.append(along @ curved / squares[-1] if float(squares[-1]) else torch.tensor(math.nan))
        check_finite("minibatch curvatures", along @ curved, hint="Choose a w0 with finite losses.")
        progress(number + 1, n_batches)
    if len(quotients) < _MIN_BATCHES:
        raise InputError(
            expected=f"an ensemble of at least {_MIN_BATCHES} minibatches", got=f"{len(quotients)}",
            hint="Use a smaller batch size.",
        )  # fmt: skip
    quotient = torch.stack(quotients).double().cpu()
    known = quotient[~quotient.isnan()]
    enough = len(known) >= _MIN_BATCHES
    return BatchSharpness(
        value=float(known.mean()) if enough else math.nan,
        standard_error=float(known.std() / math.sqrt(len(known))) if enough else math.nan,
        quotient=quotient,
        gradient_square=torch.stack(squares).cpu(),
        n_left_out=count_left_out(ensemble),
        provenance=stamp(n_batches=n_batches),
    )


def _gradients(ensemble: Ensemble, w: Tensor, count: int) -> Iterable[Tensor]:
    own = getattr(ensemble, "batch_gradients", None)
    if own is not None:
        return itertools.islice(own(w), count)
    return torch.func.jacrev(ensemble.batch_losses)(w)[:count]


def _product(ensemble: Ensemble) -> Callable[[Tensor, int, Tensor], Tensor]:
    own = getattr(ensemble, "batch_hessian_vector_product", None)
    if own is not None:
        return own

    def product(w: Tensor, number: int, vector: Tensor) -> Tensor:
        w = w.detach().clone().requires_grad_()
        with torch.enable_grad():
            return hessian_times(ensemble.batch_losses(w)[number], w, vector)

    return product
