"""Implicit steps with a step size for each weight: checks, and the solution of symmetric systems."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_positive, check_vector
from landscope.errors import InputError

__all__ = ["check_step_size", "conjugate_gradients", "working_dtype"]


def check_step_size(step_size: float | Float[Tensor, " N"], *, dim: int, like: Tensor) -> float | Float[Tensor, " N"]:
    """Return a step size above 0, or those of all weights on the device of ``like``; one number if they are equal."""
    if not isinstance(step_size, Tensor) or step_size.ndim == 0:
        return check_positive("step_size", float(step_size) if isinstance(step_size, Tensor) else step_size)
    sizes = check_vector("step_size", step_size, dim=dim, device=like.device)
    least, largest = (float(bound) for bound in sizes.aminmax())
    if sizes.ndim > 1 or least < 0:
        raise InputError(
            expected=f"a step_size above 0, or {dim} step sizes of at least 0, one a weight",
            got=f"shape {tuple(sizes.shape)}, the smallest {least:.3g}",
            hint="Pass the learning rate, or the learning rate of each weight over the divisor of its gradient.",
        )
    return largest if 0 < least == largest else sizes.to(working_dtype(sizes, like))


def working_dtype(*tensors: Tensor) -> torch.dtype:
    """The dtype of the tensors, or float32 if it is smaller: step sizes span many decades."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def conjugate_gradients(
    system: Callable[[Tensor], Tensor],
    right: Tensor,
    start: Tensor | None = None,
    *,
    precondition: Callable[[Tensor], Tensor] = lambda residual: residual,
    rtol: float,
    n_steps: int,
) -> tuple[Tensor, bool]:
    r"""Solve a symmetric positive system by conjugate gradients, and say whether the residual was reached.

    Every iteration lowers the quadratic form :math:`x^\top A x / 2 - b^\top x`, so that a solution that was stopped
    early is between the start and the minimum.

    Args:
        system: Product of the matrix A and a tensor.
        right: Right-hand side b.
        start: First guess; by default zero.
        precondition: Product of an approximate inverse, symmetric and positive, and a tensor.
        rtol: Residual over the right-hand side, both measured by the approximate inverse.
        n_steps: Largest number of iterations.
    """
    x = torch.zeros_like(right) if start is None else start
    residual = right if start is None else right - system(x)
    direction = scaled = precondition(residual)
    square = _inner(residual, scaled)
    tolerance = rtol**2 * (square if start is None else _inner(right, precondition(right)))
    for _ in range(n_steps):
        if square <= tolerance:
            return x, True
        image = system(direction)
        step = square / _inner(direction, image)
        x = x + step * direction
        residual = residual - step * image
        scaled = precondition(residual)
        square, before = _inner(residual, scaled), square
        if not math.isfinite(square):
            break
        direction = scaled + square / before * direction
    return x, square <= tolerance


def _inner(first: Tensor, second: Tensor) -> float:
    return float((first * second).sum())
