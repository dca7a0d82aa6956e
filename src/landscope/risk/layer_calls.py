"""The calls of layers in a batch: what enters and leaves a layer, and where the samples lie in it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Generator, Mapping, Sequence

import torch
from torch import Tensor, nn

from landscope.attention import plain_kernels
from landscope.parameters import ParameterSpace
from landscope.risk.layer_terms import is_transposed_linear
from landscope.risk.outputs import Outputs, OutputSource
from landscope.risk.sample_axes import SampleAxis, axis_of_samples, holds_slopes

__all__ = ["Call", "CallAxes", "axes_of_calls", "outputs_with_calls"]

Call = tuple[Tensor, Tensor]
"""The input and the output of a layer at one call."""


@dataclasses.dataclass(frozen=True)
class CallAxes:
    """The axes of the samples at all calls of a layer.

    Args:
        axes: The axis at each call.
        keeps_positions: Whether the layer maps vectors of the last axis, whatever axes come before.
    """

    axes: tuple[SampleAxis, ...]
    keeps_positions: bool

    def fits(self, calls: Sequence[Call], n: int) -> bool:
        """Whether the calls in another batch, of n samples, may have these axes."""
        return len(calls) == len(self.axes) and all(
            axis.fits(tensor, n) for axis, call in zip(self.axes, calls, strict=True) for tensor in call
        )

    def samples_first(self, tensors: Sequence[Tensor], n: int) -> list[Tensor]:
        """The inputs or outputs of all calls with the samples first; a folded axis becomes several calls."""
        if self.keeps_positions:
            return [axis.first(tensor, n) for axis, tensor in zip(self.axes, tensors, strict=True)]
        return [part for axis, tensor in zip(self.axes, tensors, strict=True) for part in axis.calls(tensor, n)]


def axes_of_calls(
    module: nn.Module,
    calls: Sequence[Call],
    slopes: Sequence[Sequence[Tensor | None]],
    samples: Sequence[int],
    n: int,
) -> CallAxes | None:
    """The axes of the samples at all calls of a layer; None where they cannot be told.

    Args:
        module: The layer.
        calls: Its calls.
        slopes: For each call, its slopes for each of some samples alone, and the slopes for all samples.
        samples: These samples.
        n: Number of samples.
    """
    axes = []
    for (entered, left), found in zip(calls, slopes, strict=True):
        *single, every = found
        moved = any(slope is not None and bool(slope.any()) for slope in single)
        if not moved and every is not None and bool(every.any()):
            return None  # nothing is seen of the samples
        leading = _leading_axes(module, left)

        def agrees(axis: SampleAxis, x: Tensor = entered, own: Sequence[Tensor | None] = single, most: int = leading):
            return axis.axis < most and axis.fits(x, n) and holds_slopes(axis, own, samples, n)

        if (axis := axis_of_samples(left, n, agrees)) is None:
            return None
        axes.append(axis)
    return CallAxes(tuple(axes), _maps_vectors(module))


def _maps_vectors(module: nn.Module) -> bool:
    kinds = nn.Linear | nn.Embedding | nn.LayerNorm | nn.RMSNorm
    return isinstance(module, kinds) or is_transposed_linear(module)


def _leading_axes(module: nn.Module, output: Tensor) -> int:
    """Number of the first axes of an output along which a layer treats all entries alike."""
    if isinstance(module, nn.LayerNorm | nn.RMSNorm):
        return output.ndim - len(module.normalized_shape)
    return output.ndim - 1 if _maps_vectors(module) else 1


def outputs_with_calls(
    source: OutputSource, space: ParameterSpace, w: Tensor, block: int, layers: Mapping[str, nn.Module]
) -> tuple[Outputs, dict[str, list[Call]]]:
    """The outputs of a block with their graph, and the calls of some layers by their names.

    Args:
        source: Outputs of the model.
        space: Selected weights.
        w: Their values.
        block: The block.
        layers: Layers of the model.
    """
    source.prepare(space.unflatten(w), block)
    with torch.enable_grad(), plain_kernels(), _recorded(layers) as calls:
        return source.outputs(space.unflatten(w.detach().clone().requires_grad_()), block), calls


@contextlib.contextmanager
def _recorded(layers: Mapping[str, nn.Module]) -> Generator[dict[str, list[Call]]]:
    """The input and the output of each layer at each of its calls."""
    calls: dict[str, list[Call]] = {name: [] for name in layers}

    def record(name: str, layer: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], keywords: dict[str, Tensor], output: Tensor) -> Tensor:
            calls[name].append(((*inputs, *keywords.values())[0].detach(), output))
            return output.clone()  # what follows may change it in place

        return layer.register_forward_hook(hook, with_kwargs=True)

    handles = [record(name, layer) for name, layer in layers.items()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
