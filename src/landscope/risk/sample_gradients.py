"""Sums over samples of powers of their gradients, for any slopes along the outputs of a model."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from landscope._checks import device_with_float64
from landscope.attention import plain_kernels
from landscope.errors import NonFiniteError
from landscope.parameters import ParameterSpace
from landscope.risk.layer_groups import LayerGroup, layer_groups, selected_names
from landscope.risk.layer_terms import OtherAxisError, sum_of_powers
from landscope.risk.outputs import CriterionOutputs, Outputs, OutputSource

__all__ = ["SampleGradients", "Slopes"]

Slopes = tuple[Sequence[Tensor], Tensor | None]
"""Slopes along the output tensors of every sample, and a factor of each sample."""

_GRADIENT_NUMBERS = 2**23
"""Numbers of single-sample gradients held at once: 32 MB in float32."""
_PROBED = 3
"""Samples whose gradients are also taken one by one, to test the layers."""


@dataclasses.dataclass(frozen=True)
class SampleGradients:
    r"""Sums :math:`\sum_k c_k |J_k' s_k|^p` over the samples k of all data, for slopes s along the outputs.

    Layers with a closed form take part by their inputs and the slopes at their outputs; the gradients of other weights
    are taken sample by sample. Before a layer is used, its sum over a few samples is compared with their gradients.

    Args:
        source: Outputs of the model.
        model: The model that the source calls, in eval mode.
        space: Selected weights.
        by_layers: Whether layers may take part by their inputs.
    """

    source: OutputSource
    model: nn.Module
    space: ParameterSpace
    by_layers: bool = True

    def sums(self, w: Tensor, slopes: Callable[[Outputs, int], Iterator[Slopes]], power: int = 2) -> Tensor:
        """The sums for all slopes, ``[N]`` in float64.

        Args:
            w: Selected weights.
            slopes: ``outputs, block -> slopes``, with a factor of each sample.
            power: 1 for absolute values, 2 for squares.
        """
        layers = layer_groups(self.model, self.space.names) if self.by_layers else {}
        if layers:
            layers = self._tested(w, layers, power)
        while True:
            try:
                return self._all_blocks(w, layers, slopes, power)
            except OtherAxisError as error:  # in a later block only
                layers = {name: layer for name, layer in layers.items() if name != str(error)}

    def _all_blocks(
        self, w: Tensor, layers: dict[str, LayerGroup], slopes: Callable[[Outputs, int], Iterator[Slopes]], power: int
    ) -> Tensor:
        device = device_with_float64(w.device)
        totals = {
            name: torch.zeros(shape, dtype=torch.float64, device=device)
            for name, shape in zip(self.space.names, self.space.shapes, strict=True)
        }
        for block in range(self.source.n_blocks):
            parts = self._by_layers(w, block, layers, slopes, power) if layers else {}
            if others := [name for name in self.space.names if name not in selected_names(layers)]:
                parts |= self._by_samples(w, block, others, slopes, power)
            for name, part in parts.items():
                totals[name] += part
        return torch.cat([totals[name].flatten() for name in self.space.names])

    def _by_layers(
        self,
        w: Tensor,
        block: int,
        groups: dict[str, LayerGroup],
        slopes: Callable[[Outputs, int], Iterator[Slopes]],
        power: int,
    ) -> dict[str, Tensor]:
        """The sums of one block over the weights of some layers, by one pass for each slope."""
        self.source.prepare(self.space.unflatten(w), block)
        layers = {name: layer for group in groups.values() for name, layer in group.layers.items()}
        with torch.enable_grad(), plain_kernels(), _recorded(layers) as calls:
            parameters = self.space.unflatten(w.detach().clone().requires_grad_())
            outputs = self.source.outputs(parameters, block)
        found = [group.term(calls, len(outputs.tensors[0]), power) for group in groups.values()]
        terms = [term for term in found if term is not None]
        if not (watched := [output for term in terms for output in term.watched]):
            return {}
        for along, weights in slopes(outputs.detached(), block):
            rows = [s.to(t) for s, t in zip(along, outputs.tensors, strict=True)]
            own = iter(torch.autograd.grad(outputs.tensors, watched, rows, retain_graph=True, allow_unused=True))
            for term in terms:
                term.add([next(own) for _ in term.watched], weights)
        return {name: part for term in terms for name, part in term.finish().items()}

    def _tested(self, w: Tensor, layers: dict[str, LayerGroup], power: int) -> dict[str, LayerGroup]:
        """Those layers whose sums over a few samples are the sums of the gradients of these samples.

        Others have another first axis than the samples, mix samples, or are also used without being called.
        """

        def few(outputs: Outputs, _: int) -> Iterator[Slopes]:
            generator = torch.Generator().manual_seed(0)
            rows = torch.linspace(0, len(outputs.tensors[0]) - 1, min(_PROBED, len(outputs.tensors[0]))).long()
            yield [_random_at(rows, tensor, generator) for tensor in outputs.tensors], None

        try:
            sums = self._by_layers(w, 0, layers, few, power)
        except OtherAxisError as error:
            fewer = {name: layer for name, layer in layers.items() if name != str(error)}
            return self._tested(w, fewer, power) if fewer else {}
        names = [name for name in self.space.names if name in selected_names(layers)]
        expected = self._by_samples(w, 0, names, few, power, one_by_one=True)
        wrong = {name for name in names if not _agree(sums.get(name), expected[name], w.dtype)}
        return {name: layer for name, layer in layers.items() if not selected_names({name: layer}) & wrong}

    def _by_samples(
        self,
        w: Tensor,
        block: int,
        names: Sequence[str],
        slopes: Callable[[Outputs, int], Iterator[Slopes]],
        power: int,
        *,
        one_by_one: bool = False,
    ) -> dict[str, Tensor]:
        """The sums of one block over some weights, from the gradients of single samples."""
        parameters = self.space.unflatten(w.detach())
        with torch.no_grad():
            outputs = self.source.outputs(parameters, block)
        totals: dict[str, Tensor] = {}
        for along, weights in slopes(outputs, block):
            single = self._one_by_one if one_by_one else self._sample_gradients
            first = 0
            for gradients in single(parameters, block, names, along):
                count = len(next(iter(gradients.values())))
                own = None if weights is None else weights[first : first + count]
                for name, values in gradients.items():
                    totals[name] = totals.get(name, 0.0) + sum_of_powers(values, power, own)
                first += count
        return totals

    def _sample_gradients(
        self, parameters: dict[str, Tensor], block: int, names: Sequence[str], slopes: Sequence[Tensor]
    ) -> Iterator[dict[str, Tensor]]:
        """J_k' s_k of every sample k, some samples at a time: ``[b, ...]`` by parameter."""
        if not isinstance(self.source, CriterionOutputs):
            yield from self._one_by_one(parameters, block, names, slopes)
            return
        mapped = self._mapped(self.source, parameters, block, names, slopes)
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # a traced module prints where it fails
                first = next(mapped)
        except Exception:  # noqa: BLE001 - a model that knows how many samples it was given fails in any way on one
            yield from self._one_by_one(parameters, block, names, slopes)
            return
        yield first
        yield from mapped

    @staticmethod
    def _mapped(
        source: CriterionOutputs,
        parameters: dict[str, Tensor],
        block: int,
        names: Sequence[str],
        slopes: Sequence[Tensor],
    ) -> Iterator[dict[str, Tensor]]:
        """All samples at once, each as a batch of one."""
        rows, arguments = len(slopes[0]), source.blocks.arguments(block)
        free = {name: parameters[name] for name in names}
        once = max(1, _GRADIENT_NUMBERS // sum(tensor.numel() for tensor in free.values()))

        def pulled(own: list[Tensor], *sample: Any) -> dict[str, Tensor]:
            single = tree_map(lambda x: x[None] if isinstance(x, Tensor) else x, sample)
            outputs = lambda some: [out[0] for out in source.tensors(parameters | some, single)]  # noqa: E731
            return torch.func.vjp(outputs, free)[1](own)[0]

        axes = tree_map(lambda x: 0 if _has_rows(x, rows) else None, arguments)
        for first in range(0, rows, once):
            part = slice(first, first + once)
            few = tree_map(lambda x, part=part: x[part] if _has_rows(x, rows) else x, arguments)
            with plain_kernels():
                yield torch.func.vmap(pulled, in_dims=(0, *axes))([slope[part] for slope in slopes], *few)

    def _one_by_one(
        self, parameters: dict[str, Tensor], block: int, names: Sequence[str], slopes: Sequence[Tensor]
    ) -> Iterator[dict[str, Tensor]]:
        """One backward pass of the whole block for each sample whose slopes are not all zero."""
        free = {name: parameters[name].detach().clone().requires_grad_() for name in names}
        with torch.enable_grad():
            tensors = self.source.outputs(parameters | free, block).tensors
            for row in range(len(slopes[0])):
                own = [(out[row], slope[row].to(out)) for out, slope in zip(tensors, slopes, strict=True)]
                if any(bool(slope.any()) for _, slope in own):
                    found = torch.autograd.grad(
                        [out for out, _ in own], list(free.values()), [slope for _, slope in own],
                        retain_graph=True, allow_unused=True,
                    )  # fmt: skip
                else:
                    found = [None] * len(free)
                yield {
                    name: (torch.zeros_like(tensor) if slope is None else slope)[None]
                    for (name, tensor), slope in zip(free.items(), found, strict=True)
                }


def _random_at(rows: Tensor, like: Tensor, generator: torch.Generator) -> Tensor:
    """Random slopes of some samples, and zero for all others."""
    slopes = torch.zeros_like(like)
    slopes[rows] = torch.randn(len(rows), *like.shape[1:], generator=generator).to(like)
    return slopes


def _agree(found: Tensor | None, expected: Tensor, dtype: torch.dtype) -> bool:
    largest = float(expected.abs().max())
    if not math.isfinite(largest):
        raise NonFiniteError(
            expected="a loss with finite derivatives at these weights",
            got="NaN or infinity",
            hint="Check the data for NaN, and the weights: the training may have diverged.",
        )
    if found is None:  # a layer that is never called has no gradient
        return largest == 0
    accuracy = min(0.05, 1e3 * torch.finfo(dtype).eps)
    return bool(torch.allclose(found.to(expected), expected, rtol=accuracy, atol=accuracy * largest))


def _has_rows(value: Any, rows: int) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0 and len(value) == rows


@contextlib.contextmanager
def _recorded(layers: dict[str, nn.Module]) -> Generator[dict[str, list[tuple[Tensor, Tensor]]]]:
    """The input and the output of each layer at each of its calls."""
    calls: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in layers}

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
