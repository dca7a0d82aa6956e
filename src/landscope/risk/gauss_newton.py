"""Products J' H J v through the outputs of a model, with any matrix H of the outputs of a sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from landscope._checks import device_with_float64, for_float64
from landscope.attention import plain_kernels
from landscope.derivatives import check_twice, twice_differentiable, without_second_derivative
from landscope.parameters import ParameterSpace
from landscope.risk.outputs import Outputs, OutputSource
from landscope.risk.weighted_losses import total_weight

__all__ = ["has_padding", "through_outputs"]

Curved = Callable[[Outputs, list[Tensor], int], list[Tensor]]
"""``outputs, change of the output tensors, block -> H times the change``."""


def has_padding(model: nn.Module) -> bool:
    """Whether a table of a model has a row of padding.

    Its gradient is zero in reverse mode, as training needs it, but not in forward mode, so that J and J' would differ.
    """
    return any(getattr(part, "padding_idx", None) is not None for part in model.modules())


def through_outputs(
    source: OutputSource,
    space: ParameterSpace,
    w: Tensor,
    vector: Tensor,
    curved: Curved,
    *,
    forward_mode: bool = True,
) -> Tensor:
    """The sum of J' H J v over all blocks, over the sum of the weights of the losses, in float64."""
    total, weight = torch.zeros(space.dim, dtype=torch.float64, device=device_with_float64(w.device)), 0.0
    with plain_kernels():
        for block in range(source.n_blocks):
            with torch.enable_grad():
                point = w.detach().clone().requires_grad_()
                outputs = source.outputs(space.unflatten(point), block)
            here = outputs.detached()
            if forward_mode:
                change = _pushed(source, space, outputs, point, vector, block)
            else:
                change = _pushed_twice(outputs.tensors, point, vector)
            along = curved(here, change, block)
            product = _pulled(outputs, along, point)
            _check_adjoint(along, change, product, vector)
            total += for_float64(product).double()
            with torch.no_grad():
                weight += total_weight(source.losses(here, here.tensors, block)[1])
    return total / weight


def _pulled(outputs: Outputs, along: Sequence[Tensor], point: Tensor) -> Tensor:
    """J' u."""
    pairs = [(out, part.to(out)) for out, part in zip(outputs.tensors, along, strict=True) if out.requires_grad]
    return torch.autograd.grad([out for out, _ in pairs], point, [part for _, part in pairs], retain_graph=True)[0]


def _check_adjoint(along: Sequence[Tensor], change: Sequence[Tensor], product: Tensor, vector: Tensor) -> None:
    """Raise if u'(J v) is not v'(J'u): J v is the derivative of the backward pass, which may have none.

    Raises:
        InputError: If they differ by more than rounding.
    """
    terms = [for_float64(u.detach()).double() * for_float64(dv.detach()) for u, dv in zip(along, change, strict=True)]
    parts = for_float64(product).double() * for_float64(vector)
    size = sum(float(term.abs().sum()) for term in (*terms, parts))
    difference = sum(float(term.sum()) for term in terms) - float(parts.sum())
    if abs(difference) > torch.finfo(product.dtype).eps ** 0.5 * size:
        raise without_second_derivative("a backward pass that torch cannot differentiate")


def _pushed(
    source: OutputSource, space: ParameterSpace, outputs: Outputs, point: Tensor, vector: Tensor, block: int
) -> list[Tensor]:
    """J v, in forward mode where the model has it."""

    def tensors(w: Tensor) -> list[Tensor]:
        return source.outputs(space.unflatten(w), block).tensors

    try:
        return torch.func.jvp(tensors, (point.detach(),), (vector,))[1]
    except (RuntimeError, NotImplementedError, TypeError):  # an operation without a forward mode
        return _pushed_twice(outputs.tensors, point, vector)


def _pushed_twice(outputs: Sequence[Tensor], point: Tensor, vector: Tensor) -> list[Tensor]:
    """J v, as the derivative along v of J' u by u, which is linear in u."""
    moved = [out for out in outputs if out.requires_grad]
    dual = [torch.zeros_like(out).requires_grad_() for out in moved]
    with torch.enable_grad(), twice_differentiable():
        pulled = torch.autograd.grad(moved, point, dual, create_graph=True)[0]
        for out in moved:
            check_twice(out, pulled)
        found = iter(torch.autograd.grad(pulled, dual, vector.to(pulled), retain_graph=True))
    return [next(found) if out.requires_grad else torch.zeros_like(out) for out in outputs]
