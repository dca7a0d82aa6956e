"""Whether a faster evaluation keeps the gradient of a model, which its code may define apart from its values."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from landscope._checks import for_float64
from landscope.errors import LandscopeWarning
from landscope.notices import warn
from landscope.parameters import ParameterSpace
from landscope.risk.weighted_losses import mean_of, total_weight

__all__ = ["OtherGradientError", "check_same_gradient", "warn_of_nonlinear_backward"]

_SCALE = 2.0**20
"""A power of two, so that a linear backward pass scales without rounding."""

Losses = Callable[[dict[str, Tensor]], tuple[Tensor, Tensor | float]]
"""``parameters -> losses, weight`` of some samples."""


class OtherGradientError(Exception):
    """The gradient is not that of the operations of the model."""


def check_same_gradient(
    losses: Losses, whole: Losses, space: ParameterSpace, w: Tensor, *, is_traced: bool = False
) -> None:
    """Compare the gradient of a faster evaluation of some losses with that of the whole model.

    Args:
        losses: The faster evaluation.
        whole: The whole model.
        space: The selected parameters.
        w: Where.
        is_traced: Whether the faster evaluation is made of plain operations. Its gradient then scales with the loss;
            that of a model that clips gradients may do so here, and not elsewhere.

    Raises:
        OtherGradientError: If they differ.
    """
    try:
        expected = _gradient(whole, space, w, only_linear=is_traced)
    except RuntimeError:  # the whole model has none, as where it changes in place what a gradient needs
        return
    _check_equal(_gradient(losses, space, w), expected)


def _gradient(losses: Losses, space: ParameterSpace, w: Tensor, *, only_linear: bool = False) -> dict[str, Tensor]:
    """The gradient at ``w`` of the mean of some losses, by parameter."""
    with torch.enable_grad():
        leaf = w.detach().clone().requires_grad_()
        values, weight = losses(space.unflatten(leaf))
        loss = mean_of(values, total_weight(weight))
        if not loss.requires_grad:
            return space.unflatten(torch.zeros_like(w))
        once = _times(1.0, loss, leaf)
        if only_linear:
            _check_linear(loss, leaf, once)
    return space.unflatten(once)


def _check_linear(loss: Tensor, leaf: Tensor, gradient: Tensor) -> None:
    _check_equal({"": _times(_SCALE, loss, leaf) / _SCALE}, {"": gradient})


def warn_of_nonlinear_backward(loss: Tensor, leaf: Tensor, gradient: Tensor, name: str) -> None:
    """Warn if the gradient of a multiple of a loss is not this multiple of its ``gradient``.

    Args:
        loss: The loss, with its graph.
        leaf: The weights.
        gradient: The gradient.
        name: Name of the model.
    """
    try:
        _check_linear(loss, leaf, gradient)
    except OtherGradientError:
        warn(
            f"The backward pass of {name} clips gradients or adds to them, as in a hook or an autograd.Function. The "
            "gradient of a mean over samples is then not the mean of their gradients. Losses are right, but gradients, "
            "Hessians and noise are not those of the training: they depend on the samples that are evaluated "
            "together. Clip gradients after backward(), as by torch.nn.utils.clip_grad_norm_, and add a loss to the "
            "loss itself.",
            LandscopeWarning,
        )


def _times(scale: float, loss: Tensor, leaf: Tensor) -> Tensor:
    """The gradient of a multiple of a loss."""
    return torch.autograd.grad(loss, leaf, torch.full_like(loss, scale), retain_graph=True, materialize_grads=True)[0]


def _check_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Compare two gradients, parameter by parameter.

    A gradient of zero, as of a bias before a normalisation, has the rounding of the sums that cancel in it. Where a
    gradient is infinite or NaN, there is nothing to compare.

    Raises:
        OtherGradientError: If they differ by more than rounding.
    """
    sizes = {name: _norm(gradient) for name, gradient in expected.items()}
    whole = math.hypot(*sizes.values())
    for name, gradient in expected.items():
        eps = torch.finfo(gradient.dtype).eps
        if math.isfinite(whole) and not _norm(found[name] - gradient) <= eps**0.5 * sizes[name] + 100 * eps * whole:
            raise OtherGradientError


def _norm(gradient: Tensor) -> float:
    return float(torch.linalg.vector_norm(for_float64(gradient).double()))
