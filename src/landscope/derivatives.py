"""Gradients and Hessian products of any landscape: its own where it has them, otherwise by torch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator

import torch
from torch import Tensor

from landscope.errors import InputError
from landscope.protocols import LossLandscape
from landscope.wording import first_lines

__all__ = ["gradient_function", "hessian_product", "hessian_times", "twice_differentiable"]


def gradient_function(landscape: LossLandscape) -> Callable[[Tensor], Tensor]:
    """The function ``w[N] -> gradient[N]`` of a landscape."""
    own = getattr(landscape, "gradient", None)
    if own is not None:
        return own

    def gradient(w: Tensor) -> Tensor:
        w = w.detach().clone().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(landscape(w), w)[0]

    return gradient


def hessian_product(landscape: LossLandscape) -> Callable[[Tensor, Tensor], Tensor]:
    """The function ``w[N], vector[N] -> Hessian(w) vector[N]`` of a landscape."""
    own = getattr(landscape, "hessian_vector_product", None)
    if own is not None:
        return own

    def product(w: Tensor, vector: Tensor) -> Tensor:
        w = w.detach().clone().requires_grad_()
        with torch.enable_grad():
            return hessian_times(landscape(w), w, vector)

    return product


def hessian_times(loss: Tensor, w: Tensor, vector: Tensor) -> Tensor:
    """The Hessian of a loss with a graph to ``w[N]``, times a vector; zero for a loss linear in w."""
    (slope,) = torch.autograd.grad(loss, w, create_graph=True)
    if not slope.requires_grad:
        return torch.zeros_like(w)
    with twice_differentiable():
        product = torch.autograd.grad(slope @ vector.to(slope), w, allow_unused=True)[0]
    return torch.zeros_like(w) if product is None else product


@contextlib.contextmanager
def twice_differentiable() -> Generator[None]:
    """Explain the error of an operation for which torch has no second derivative.

    Raises:
        InputError: In its place.
    """
    try:
        yield
    except NotImplementedError as error:
        raise InputError(
            expected="a loss with second derivatives",
            got=f"an operation for which torch has none: {first_lines(error)}",
            hint="Replace that layer by others, as an EmbeddingBag with offsets by an Embedding and a mean.",
        ) from error
