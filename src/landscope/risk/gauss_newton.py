"""Products J' H J v through the outputs of a model, with any matrix H of the outputs of a sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from landscope._checks import device_with_float64, for_float64
from landscope.attention import plain_kernels
from landscope.derivatives import twice_differentiable
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
            total += for_float64(_pulled(outputs, curved(here, change, block), point)).double()
            with torch.no_grad():
                weight += total_weight(source.losses(here, here.tensors, block)[1])
    return total / weight


def _pulled(outputs: Outputs, along: Sequence[Tensor], point: Tensor) -> Tensor:
    """J' u."""
    pairs = [(out, part.to(out)) for out, part in zip(outputs.tensors, along, strict=True) if out.requires_grad]
    return torch.autograd.grad([out for out, _ in pairs], point, [part for _, part in pairs], retain_graph=True)[0]


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
        found = iter(torch.autograd.grad(pulled, dual, vector.to(pulled), retain_graph=True))
    return [next(found) if out.requires_grad else torch.zeros_like(out) for out in outputs]
