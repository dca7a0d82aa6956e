"""Derivatives of a risk: they are computed block by block, with one graph at a time, and summed in float64."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from landscope._checks import device_with_float64, for_float64
from landscope.attention import plain_kernels
from landscope.derivatives import hessian_times
from landscope.errors import InputError
from landscope.parameters import ParameterSpace
from landscope.protocols import ProgressCallback, silent
from landscope.risk.evaluation import BlockLosses, evaluated
from landscope.risk.weighted_losses import mean_of, total_weight

__all__ = [
    "check_autograd",
    "gradient",
    "gradient_of",
    "hessian_product_of",
    "hessian_vector_product",
    "mean_gradient",
    "mean_hessian_vector_product",
    "mean_loss",
    "weighted_gradient",
]


def check_autograd() -> None:
    """Raise within inference mode, where nothing has a derivative.

    Raises:
        InputError: If inference mode is on.
    """
    if torch.is_inference_mode_enabled():
        raise InputError(
            expected="a loss landscape outside torch.inference_mode()",
            got="a call inside it, where torch computes no derivatives",
            hint="Leave inference mode for this call; torch.no_grad() does no harm.",
        )


def _leaf(w: Tensor) -> Tensor:
    """The point at which derivatives are taken."""
    check_autograd()
    return w.detach().clone().requires_grad_()


def gradient(blocks: BlockLosses, space: ParameterSpace, w: Tensor, progress: ProgressCallback = silent) -> Tensor:
    """Gradient of the mean over all samples."""
    return _summed(blocks, space, w, lambda loss, w: torch.autograd.grad(loss, w)[0], progress)


def hessian_vector_product(
    blocks: BlockLosses, space: ParameterSpace, w: Tensor, vector: Tensor, progress: ProgressCallback = silent
) -> Tensor:
    """Hessian of the mean over all samples, times a vector."""
    with plain_kernels():
        return _summed(blocks, space, w, lambda loss, w: hessian_times(loss, w, vector), progress)


def _summed(
    blocks: BlockLosses,
    space: ParameterSpace,
    w: Tensor,
    derivative: Callable[[Tensor, Tensor], Tensor],
    progress: ProgressCallback,
) -> Tensor:
    w = _leaf(w)
    total, weight = torch.zeros(space.dim, dtype=torch.float64, device=device_with_float64(w.device)), 0.0
    for block in range(blocks.n_blocks):
        with torch.enable_grad():
            with evaluated(block, blocks.n_blocks):
                losses, block_weight = blocks.losses(space.unflatten(w), block)
            total += for_float64(derivative(losses.sum(), w)).double()
        weight += total_weight(block_weight)
        progress(block + 1, blocks.n_blocks)
    return (total / weight).to(w)


def weighted_gradient(blocks: BlockLosses, space: ParameterSpace, w: Tensor, weights: Tensor) -> Tensor:
    """Gradient of a weighted sum of the losses of all samples; the weights are in the order of the data."""
    w = _leaf(w)
    total = torch.zeros(space.dim, dtype=torch.float64, device=device_with_float64(w.device))
    remaining = blocks.in_block_order(weights.to(w.device))
    for block in range(blocks.n_blocks):
        with torch.enable_grad():
            losses, _ = blocks.losses(space.unflatten(w), block)
            part, remaining = remaining[: len(losses)], remaining[len(losses) :]
            _check_one_each(len(part), len(losses))
            total += for_float64(torch.autograd.grad((losses * part.to(losses)).sum(), w)[0]).double()
    _check_one_each(len(remaining), 0)
    return total.to(w)


def _check_one_each(weights: int, losses: int) -> None:
    if weights != losses:
        raise InputError(
            expected="one weight and one loss for each sample",
            got=f"{weights} weights for {losses} losses",
            hint="Pass one weight for each sample, and use a criterion with one loss for each sample.",
        )


def mean_gradient(blocks: BlockLosses, space: ParameterSpace, w: Tensor, rows: Tensor) -> Tensor:
    """Gradient of the loss of some samples, the sum of their losses over the sum of their weights."""
    return gradient_of(lambda w: mean_loss(blocks, space, w, rows), w)


def mean_hessian_vector_product(
    blocks: BlockLosses, space: ParameterSpace, w: Tensor, rows: Tensor, vector: Tensor
) -> Tensor:
    """Hessian of the loss of some samples, times a vector."""
    return hessian_product_of(lambda w: mean_loss(blocks, space, w, rows), w, vector)


def gradient_of(loss: Callable[[Tensor], Tensor], w: Tensor) -> Tensor:
    """Gradient of a loss with a graph."""
    w = _leaf(w)
    with torch.enable_grad():
        return torch.autograd.grad(loss(w), w)[0]


def hessian_product_of(loss: Callable[[Tensor], Tensor], w: Tensor, vector: Tensor) -> Tensor:
    """Hessian of a loss with a graph, times a vector."""
    w = _leaf(w)
    with torch.enable_grad(), plain_kernels():
        return hessian_times(loss(w), w, vector)


def mean_loss(blocks: BlockLosses, space: ParameterSpace, w: Tensor, rows: Tensor) -> Tensor:
    """The loss of some samples, with a graph."""
    return mean_of(*blocks.picked(space.unflatten(w), rows.to(w.device)))
