"""Derivatives of many losses by a step along a line: by forward mode, and by reverse mode where torch has no other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from landscope.errors import InputError, LandscopeError

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
    """The mixed second derivatives ``[m]`` of losses by two steps, at zero; in the modes of :func:`first_derivative`.

    Raises:
        InputError: If the losses have no second derivative in torch.

    Example:
        >>> mixed_derivative(lambda a, b: torch.stack([a * b, (a + 3 * b) ** 2]))
        tensor([1., 6.], dtype=torch.float64)
    """
    zero, unit = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)

    def slope(second: Tensor) -> Tensor:
        return torch.func.jvp(lambda first: losses(first, second), (zero,), (unit,))[1]

    try:
        return torch.func.jvp(slope, (zero,), (unit,))[1].detach()
    except (LandscopeError, torch.OutOfMemoryError):
        raise
    except RuntimeError:
        return _mixed_by_reverse_mode(losses).detach()


def _slopes(values: Tensor, leaf: Tensor) -> Tensor:
    """The derivative of ``values[m]`` by a scalar leaf."""
    if not values.requires_grad:
        return torch.zeros_like(values)
    pulled, slopes = _pulled(values, leaf)
    if pulled is None:
        return torch.zeros_like(values)
    if slopes is not None:
        return slopes
    return torch.stack([torch.autograd.grad(value, leaf, retain_graph=True)[0] for value in values]).to(values)


def _pulled(values: Tensor, leaf: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """The sum of the derivatives by the leaf, with a graph, and the derivatives; None where torch does not know them.

    A backward pass that leaves torch, as by numpy, has no derivative, and torch says no word about it. But then its
    derivative by the weights of the sum does not add up to the sum.
    """
    weights = torch.ones_like(values, requires_grad=True)
    pulled = torch.autograd.grad(values, leaf, weights, create_graph=True, allow_unused=True)[0]
    if pulled is None:
        return None, None
    try:
        slopes = torch.autograd.grad(pulled, weights, retain_graph=True)[0]
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        return pulled, None
    difference = (slopes.sum() - pulled.to(slopes)).abs()
    adds_up = not bool(difference > 1e-4 * slopes.abs().sum() + 1e-30)  # NaN too
    return pulled, slopes if adds_up else None


def _mixed_by_reverse_mode(losses: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    first, second = (torch.zeros((), dtype=torch.float64, requires_grad=True) for _ in range(2))
    with torch.enable_grad():
        values = losses(first, second)
        if not values.requires_grad:
            return torch.zeros_like(values)
        return torch.stack([_mixed(value[None], first, second) for value in values]).to(values)


def _mixed(value: Tensor, first: Tensor, second: Tensor) -> Tensor:
    slope, is_known = _pulled(value, first)
    if slope is None:
        return torch.zeros_like(second)
    try:
        if is_known is None:
            raise RuntimeError("the backward pass of a layer has no derivative")
        curvature = torch.autograd.grad(slope, second, retain_graph=True, allow_unused=True)[0]
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise InputError(
            expected="losses with second derivatives, for curvatures along lines",
            got=f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}",
            hint="A layer has none in torch. gradient_noise, active_temperature and minibatch_ensemble need none.",
        ) from error
    return torch.zeros_like(second) if curvature is None else curvature
