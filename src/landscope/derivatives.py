"""Gradients and Hessian products of any landscape: its own where it has them, otherwise by torch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator

import torch
from torch import Tensor

from landscope.errors import InputError, LandscopeError
from landscope.protocols import LossLandscape
from landscope.wording import first_lines

__all__ = [
    "SecondDerivativeError",
    "check_twice",
    "gradient_function",
    "hessian_product",
    "hessian_times",
    "twice_differentiable",
    "without_second_derivative",
]

_MISSING = ("is not implemented", "once_differentiable")
"""What torch says of an operation without a second derivative."""

_OUTSIDE = "a backward pass of an autograd.Function that computes outside of torch's graph, as by numpy or .detach()"


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


class SecondDerivativeError(InputError):
    """Torch has no second derivative of an operation in the loss."""


def hessian_times(loss: Tensor, w: Tensor, vector: Tensor) -> Tensor:
    """The Hessian of a loss with a graph to ``w[N]``, times a vector; zero for a loss linear in w.

    Raises:
        SecondDerivativeError: If torch has no second derivative of an operation in the loss, or the backward pass of a
            custom function computes outside of torch.
    """
    with twice_differentiable():
        with _watched_for_cuts(loss) as has_custom:
            (slope,) = torch.autograd.grad(loss, w, create_graph=True)
        if not slope.requires_grad:
            if has_custom:
                raise without_second_derivative(_OUTSIDE)
            return torch.zeros_like(w)
        _check_no_cut(slope)
        product = torch.autograd.grad(slope @ vector.to(slope), w, allow_unused=True)[0]
    return torch.zeros_like(w) if product is None else product


def _check_no_cut(slope: Tensor) -> None:
    """Raise if a backward pass in a graph is ``once_differentiable``.

    Torch cuts the graph there and puts an error behind the cut. The way to the weights does not pass it, so that a
    second derivative would be zero without a word.
    """
    if any(node.name() == "torch::autograd::Error" for node in _nodes(slope)):
        raise without_second_derivative("a backward pass that is marked as once_differentiable")


@contextlib.contextmanager
def _watched_for_cuts(loss: Tensor) -> Generator[bool]:
    """Raise after the block if a custom backward pass in it computed outside of torch, as by numpy or .detach().

    What it returns must depend on what it is given, which is linear; where it does not, torch takes the second
    derivative for zero. The block learns whether there are custom functions.
    """
    cuts = []

    def check(returned: tuple[Tensor | None, ...], given: tuple[Tensor | None, ...]) -> None:
        if any(slope is not None and slope.requires_grad for slope in given):
            cuts.extend(s for s in returned if s is not None and not s.requires_grad and bool(s.any()))

    custom = [node for node in _nodes(loss) if isinstance(node, torch.autograd.function.BackwardCFunction)]
    hooks = [node.register_hook(check) for node in custom]
    try:
        yield bool(custom)
    finally:
        for hook in hooks:
            hook.remove()
    if cuts:
        raise without_second_derivative(_OUTSIDE)


def check_twice(loss: Tensor, slope: Tensor) -> None:
    """Raise if a custom function has no second derivative: where others have one, torch takes it for zero.

    Raises:
        SecondDerivativeError: If it has none.
    """
    if any(isinstance(node, torch.autograd.function.BackwardCFunction) for node in _nodes(loss)):
        _check_no_cut(slope)


def _nodes(value: Tensor) -> Iterator[torch.autograd.graph.Node]:
    """The nodes of the graph of a value."""
    pending, seen = [value.grad_fn], set()
    while pending:
        node = pending.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            pending.extend(before for before, _ in node.next_functions)


def without_second_derivative(got: str) -> SecondDerivativeError:
    """The error for an operation for which torch has no second derivative."""
    return SecondDerivativeError(
        expected="a loss with second derivatives",
        got=f"an operation for which torch has none: {got}",
        hint="Flatness, exponents and minibatch gradients need none. For a curvature replace the operation, as "
        "nn.MultiMarginLoss by a criterion with torch.relu, or an EmbeddingBag with offsets by an Embedding and a "
        "mean; nn.CTCLoss has no replacement in torch. Let the backward pass of an autograd.Function use operations of "
        "torch, without once_differentiable.",
    )


@contextlib.contextmanager
def twice_differentiable() -> Generator[None]:
    """Explain the error of an operation for which torch has no second derivative.

    Raises:
        SecondDerivativeError: In its place.
    """
    try:
        yield
    except RuntimeError as error:  # NotImplementedError too
        is_missing = isinstance(error, NotImplementedError) or any(words in str(error) for words in _MISSING)
        if isinstance(error, LandscopeError | torch.OutOfMemoryError) or not is_missing:
            raise
        raise without_second_derivative(first_lines(error)) from error
