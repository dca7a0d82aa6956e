"""Gradients and Hessian products of any landscape: its own where it has them, otherwise by torch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator

import torch
from torch import Tensor

from landscope.errors import InputError
from landscope.protocols import LossLandscape
from landscope.wording import first_lines

__all__ = [
    "check_twice",
    "gradient_function",
    "hessian_product",
    "hessian_times",
    "twice_differentiable",
    "without_second_derivative",
]


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
    check_twice(loss, slope)
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
        raise without_second_derivative(first_lines(error)) from error


def without_second_derivative(got: str) -> InputError:
    """The error for an operation for which torch has no second derivative."""
    return InputError(
        expected="a loss with second derivatives",
        got=f"an operation for which torch has none: {got}",
        hint="Replace that layer by others, as an EmbeddingBag with offsets by an Embedding and a mean. Let the "
        "backward pass of an autograd.Function use operations of torch, without once_differentiable.",
    )


def check_twice(loss: Tensor, slope: Tensor) -> None:
    """Raise if a custom function has no second derivative: where others have one, torch takes it for zero.

    Raises:
        InputError: If it has none.
    """
    if any(isinstance(node, torch.autograd.function.BackwardCFunction) for node in _nodes(loss)) and any(
        node.name() == "torch::autograd::Error" for node in _nodes(slope)
    ):
        raise without_second_derivative("an autograd.Function with once_differentiable")


def _nodes(value: Tensor) -> Iterator[torch.autograd.graph.Node]:
    """The nodes of the graph of a value."""
    pending, seen = [value.grad_fn], set()
    while pending:
        node = pending.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            pending.extend(before for before, _ in node.next_functions)
