"""Derivatives of many losses by a step along a line: by forward mode, and by reverse mode where torch has no other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from landscope.errors import InputError, LandscopeError
from landscope.wording import error_text

__all__ = ["first_derivative", "mixed_derivative"]


def first_derivative(losses: Callable[[Tensor], Tensor], step: Tensor) -> tuple[Tensor, Tensor]:
    """The losses ``[m]`` at a step, and their derivatives ``[m]`` by the step.

    One pass of forward mode gives all derivatives. Some operations of torch have no forward mode: packed sequences,
    a custom ``autograd.Function`` without ``jvp``, bags of embeddings. There reverse mode takes its place:
    with J the derivative of the losses, J'u is linear in u, and its derivative by u is J. If this has no derivative
    either, each loss takes its own backward pass.

    Args:
        losses: The losses as a function of the step.
        step: A scalar in float64.

    Example:
        >>> first_derivative(lambda d: torch.stack([d, d**2]), torch.tensor(3.0))
        (tensor([3., 9.]), tensor([1., 6.]))
    """
    try:
        value, slope = torch.func.jvp(losses, (step,), (torch.ones_like(step),))[:2]
    except (LandscopeError, torch.OutOfMemoryError):
        raise
    except RuntimeError:  # NotImplementedError too
        leaf = step.detach().clone().requires_grad_()
        with torch.enable_grad():
            value = losses(leaf)
            slope = _slopes(value, leaf)
    return value.detach(), slope.detach()


def mixed_derivative(losses: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The mixed second derivatives ``[m]`` of losses by two steps, at zero, by reverse mode.

    Forward mode within forward mode is no way: torch then takes the mean and the variance in layer normalisation, and
    in batch normalisation of a minibatch, for constants, and gives wrong numbers without a word. Reverse mode gives
    the second derivative of a weighted sum of the losses, which is linear in the weights.

    Raises:
        InputError: If the losses have no second derivative in torch.

    Example:
        >>> mixed_derivative(lambda a, b: torch.stack([a * b, (a + 3 * b) ** 2]))
        tensor([1., 6.], dtype=torch.float64)
    """
    first, second = (torch.zeros((), dtype=torch.float64, requires_grad=True) for _ in range(2))
    with torch.enable_grad():
        values = losses(first, second)
        if not values.requires_grad:
            return torch.zeros_like(values)
        return _mixed(values, first, second).detach()


def _slopes(values: Tensor, leaf: Tensor) -> Tensor:
    """The derivative of ``values[m]`` by a scalar leaf."""
    if not values.requires_grad:
        return torch.zeros_like(values)
    weights = torch.ones_like(values, requires_grad=True)
    pulled = torch.autograd.grad(values, leaf, weights, create_graph=True, allow_unused=True)[0]
    if pulled is None:
        return torch.zeros_like(values)
    try:
        return _by_weights(pulled, weights)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # the backward pass has no derivative
        rows = [torch.autograd.grad(value, leaf, retain_graph=True)[0] for value in values]
        return torch.stack(rows).to(values)


def _mixed(values: Tensor, first: Tensor, second: Tensor) -> Tensor:
    weights = torch.ones_like(values, requires_grad=True)
    pulled = torch.autograd.grad(values, first, weights, create_graph=True, allow_unused=True)[0]
    if pulled is None:
        return torch.zeros_like(values)
    try:
        _by_weights(pulled, weights)  # raises if a part of the slope has no derivative
        curved = torch.autograd.grad(pulled, second, create_graph=True, allow_unused=True)[0]
        if curved is None or (not curved.requires_grad and not bool(curved)):
            return torch.zeros_like(values)
        return _by_weights(curved, weights)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise InputError(
            expected="losses with second derivatives, for curvatures along lines",
            got=error_text(error),
            hint="A layer has none in torch. gradient_noise, active_temperature and minibatch_ensemble need none.",
        ) from error


def _by_weights(summed: Tensor, weights: Tensor) -> Tensor:
    """The terms of a weighted sum, from its derivative by the weights, which are one.

    A backward pass that leaves torch, as by numpy, has no derivative, and torch says no word about it. But then the
    terms do not add up to the sum.

    Raises:
        RuntimeError: If the sum has no derivative.
    """
    terms = torch.autograd.grad(summed, weights, retain_graph=True, allow_unused=True)[0]
    terms = torch.zeros_like(weights) if terms is None else terms
    if bool((terms.sum() - summed.to(terms)).abs() > 1e-4 * terms.abs().sum() + 1e-30):  # not for NaN
        raise RuntimeError("the backward pass of a layer has no derivative")
    return terms
