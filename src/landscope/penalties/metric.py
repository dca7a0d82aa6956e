"""Implicit steps with a step size for each weight: checks, and the solution of symmetric systems."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_positive, check_vector, for_float64
from landscope.errors import InputError
from landscope.penalties.questions import Asking, together

__all__ = [
    "Habits",
    "asking_conjugate_gradients",
    "asking_in_metric",
    "asking_step_size",
    "working_dtype",
]


@dataclasses.dataclass
class Habits:
    """What the last steps were like: a GPU is asked about the next one after as much as will probably be needed.

    It changes how often the host waits, and no result.

    Args:
        is_one_number: Whether all weights had the same step size.
        iterations: Iterations that the last solution took.
    """

    is_one_number: bool = True
    iterations: int = 1


def asking_step_size(
    step_size: float | Float[Tensor, " N"], *, dim: int, like: Tensor
) -> Asking[float | Float[Tensor, " N"]]:
    """A step size above 0, or those of all weights on the device of ``like``; one number if they are equal."""
    if not isinstance(step_size, Tensor) or step_size.ndim == 0:
        return check_positive("step_size", float(step_size) if isinstance(step_size, Tensor) else step_size)
    sizes = check_vector("step_size", step_size, dim=dim, device=like.device, is_finite=True)
    least, largest = yield list(sizes.aminmax())
    if not (math.isfinite(least) and math.isfinite(largest)):
        check_vector("step_size", sizes, dim=dim)  # which says so
    if sizes.ndim > 1 or least < 0:
        raise InputError(
            expected=f"a step_size above 0, or {dim} step sizes of at least 0, one a weight",
            got=f"shape {tuple(sizes.shape)}, the smallest {least:.3g}",
            hint="Pass the learning rate, or the learning rate of each weight over the divisor of its gradient.",
        )
    return largest if 0 < least == largest else sizes.to(working_dtype(sizes, like))


def asking_in_metric(
    step_size: float | Float[Tensor, " N"],
    *,
    dim: int,
    like: Tensor,
    one: Callable[[float], Tensor | Asking[Tensor]],
    each: Callable[[Tensor], Asking[Tensor]],
    habits: Habits,
) -> Asking[Tensor]:
    """The implicit step with one step size, or with one for each weight: whichever the step sizes are.

    On a GPU the second begins before it is known to be needed, if it was needed the last time.

    Args:
        step_size: The step sizes.
        dim: Their number.
        like: A tensor on the device of the weights.
        one: The step with one number.
        each: The step with one for each weight, in their working dtype.
        habits: What the last step was like; it is noted.
    """
    bounds: Asking[Any] = asking_step_size(step_size, dim=dim, like=like)
    if not isinstance(step_size, Tensor) or step_size.ndim != 1 or like.device.type == "cpu" or habits.is_one_number:
        sizes = yield from bounds
        habits.is_one_number = not isinstance(sizes, Tensor)
        return (yield from (each(sizes) if isinstance(sizes, Tensor) else _asking(one(sizes))))
    working = step_size.to(device=like.device, dtype=working_dtype(step_size, like))
    begun: Asking[Any] = each(working)
    sizes, end = yield from together([bounds, begun])
    habits.is_one_number = not isinstance(sizes, Tensor)
    return end if isinstance(sizes, Tensor) else (yield from _asking(one(sizes)))


def _asking(end: Tensor | Asking[Tensor]) -> Asking[Tensor]:
    return end if isinstance(end, Tensor) else (yield from end)


def working_dtype(*tensors: Tensor) -> torch.dtype:
    """The dtype of the tensors, or float32 if it is smaller: step sizes span many decades."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def asking_conjugate_gradients(
    system: Callable[[Tensor], Tensor],
    right: Tensor,
    start: Tensor | None = None,
    *,
    precondition: Callable[[Tensor], Tensor] = lambda residual: residual,
    rtol: float,
    n_steps: int,
    habits: Habits | None = None,
) -> Asking[tuple[Tensor, bool]]:
    r"""Solve a symmetric positive system by conjugate gradients, and say whether the residual was reached.

    Every iteration lowers the quadratic form :math:`x^\top A x / 2 - b^\top x`, so that a solution that was stopped
    early is between the start and the minimum. A GPU is asked after as many iterations as the last solution took; one
    after the residual was reached changes nothing, so that the result does not depend on when it is asked.

    Args:
        system: Product of the matrix A and a tensor.
        right: Right-hand side b.
        start: First guess; by default zero.
        precondition: Product of an approximate inverse, symmetric and positive, and a tensor.
        rtol: Residual over the right-hand side, both measured by the approximate inverse.
        n_steps: Largest number of iterations.
        habits: What the last solution was like; it is noted.
    """
    habits = Habits() if habits is None else habits
    x = torch.zeros_like(right) if start is None else start
    residual = right if start is None else right - system(x)
    direction = scaled = precondition(residual)
    square = _inner(residual, scaled)
    tolerance = rtol**2 * (square if start is None else _inner(right, precondition(right)))
    goes_on, n_taken = ~(square <= tolerance), torch.zeros((), dtype=square.dtype, device=square.device)
    before_asking = 0 if right.device.type == "cpu" else max(1, habits.iterations)
    n_done, was_asked = 0, False
    while True:
        for number in range(min(before_asking, n_steps - n_done)):
            is_known = number == 0 and was_asked  # it goes on, as was answered just now
            image = system(direction)
            step = square / _inner(direction, image)
            n_taken = n_taken + goes_on
            x = _where(goes_on, x + step * direction, x, is_known=is_known)
            residual = _where(goes_on, residual - step * image, residual, is_known=is_known)
            scaled = precondition(residual)
            square, before = _where(goes_on, _inner(residual, scaled), square, is_known=is_known), square
            direction = scaled + square / before * direction
            goes_on = goes_on & ~(square <= tolerance) & square.isfinite()
            n_done += 1
        more, taken, solved = yield [goes_on, n_taken, square <= tolerance]
        if not more or n_done >= n_steps:
            habits.iterations = int(taken)
            return x, bool(solved)
        before_asking, was_asked = 1, True


def _where(goes_on: Tensor, new: Tensor, old: Tensor, *, is_known: bool) -> Tensor:
    return new if is_known else torch.where(goes_on, new, old)


def _inner(first: Tensor, second: Tensor) -> Tensor:
    return for_float64((first * second).sum()).double()
