"""Sums over samples of powers of their gradients, for any slopes along the outputs of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from landscope._checks import device_with_float64
from landscope.attention import plain_kernels
from landscope.errors import LandscopeError, NonFiniteError
from landscope.parameters import ParameterSpace
from landscope.risk.layer_calls import Call, CallAxes, axes_of_calls, recorded_calls
from landscope.risk.layer_groups import LayerGroup, layer_groups, selected_names
from landscope.risk.layer_terms import sum_of_powers
from landscope.risk.outputs import Outputs, OutputSource
from landscope.risk.sample_axes import SampleAxes, probed
from landscope.risk.single_gradients import WAYS, SingleGradients, Way

__all__ = ["SampleGradients", "SampleSlopes", "Slopes"]

Slopes = tuple[Sequence[Tensor], Tensor | None]
"""Slopes along the output tensors of every sample, and a factor of each sample."""


@dataclasses.dataclass(frozen=True)
class SampleSlopes:
    """Slopes along the outputs, and where the samples lie in these.

    Args:
        axes: ``outputs, block -> axes`` of the samples in the output tensors.
        of_block: ``outputs, block -> slopes``, with a factor of each sample.
    """

    axes: Callable[[Outputs, int], SampleAxes]
    of_block: Callable[[Outputs, int], Iterator[Slopes]]


@dataclasses.dataclass(frozen=True)
class _Ways:
    """How the gradients of the samples are found, as it was tested.

    Args:
        groups: Layers that take part by their inputs.
        axes: Axes of the samples in the calls of these layers.
        others: All other parameters.
        single: The way to their gradients by single samples.
    """

    groups: Mapping[str, LayerGroup]
    axes: Mapping[str, CallAxes]
    others: Sequence[str]
    single: Way


@dataclasses.dataclass(frozen=True)
class SampleGradients:
    r"""Sums :math:`\sum_k c_k |J_k' s_k|^p` over the samples k of all data, for slopes s along the outputs.

    Layers with a closed form take part by their inputs and the slopes at their outputs; the gradients of other weights
    are taken sample by sample, many at once where the model allows it. Each way is used only after its results for a
    few samples were found equal to the derivatives of the outputs for these samples, one after another.

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

    def sums(self, w: Tensor, slopes: SampleSlopes, power: int = 2) -> Tensor:
        """The sums for all slopes, ``[N]`` in float64.

        Args:
            w: Selected weights.
            slopes: Slopes along the outputs.
            power: 1 for absolute values, 2 for squares.
        """
        device = device_with_float64(w.device)
        totals = {
            name: torch.zeros(shape, dtype=torch.float64, device=device)
            for name, shape in zip(self.space.names, self.space.shapes, strict=True)
        }
        ways = self.tested(w, self.source.largest_block, slopes, power)
        for block in range(self.source.n_blocks):
            try:
                parts = self._of_block(w, block, ways, slopes, power)
            except LandscopeError:
                raise
            except Exception:  # noqa: BLE001 - a batch of another shape, for which the layers may be called otherwise
                parts = self._of_block(w, block, self.tested(w, block, slopes, power), slopes, power)
            for name, part in parts.items():
                totals[name] += part
        return torch.cat([totals[name].flatten() for name in self.space.names])

    def _of_block(self, w: Tensor, block: int, ways: _Ways, slopes: SampleSlopes, power: int) -> dict[str, Tensor]:
        parts = self._by_layers(w, block, ways, slopes, power) if ways.groups else {}
        return parts | (self._by_samples(w, block, ways, slopes, power) if ways.others else {})

    def _by_layers(self, w: Tensor, block: int, ways: _Ways, slopes: SampleSlopes, power: int) -> dict[str, Tensor]:
        """The sums of one block over the weights of some layers, by one pass for each slope."""
        outputs, calls = self._watched(w, block, ways.groups)
        n = slopes.axes(outputs.detached(), block).n
        found = [group.term(calls, ways.axes, n, power) for group in ways.groups.values()]
        terms = [term for term in found if term is not None]
        if not (watched := [output for term in terms for output in term.watched]):
            return {}
        for along, weights in slopes.of_block(outputs.detached(), block):
            own = iter(_pulled(outputs, watched, along))
            for term in terms:
                term.add([next(own) for _ in term.watched], weights)
        return {name: part for term in terms for name, part in term.finish().items()}

    def _watched(
        self, w: Tensor, block: int, groups: Mapping[str, LayerGroup]
    ) -> tuple[Outputs, dict[str, list[Call]]]:
        """The outputs of a block with their graph, and the calls of layers."""
        self.source.prepare(self.space.unflatten(w), block)
        layers = {name: layer for group in groups.values() for name, layer in group.layers.items()}
        with torch.enable_grad(), plain_kernels(), recorded_calls(layers) as calls:
            parameters = self.space.unflatten(w.detach().clone().requires_grad_())
            return self.source.outputs(parameters, block), calls

    def _by_samples(self, w: Tensor, block: int, ways: _Ways, slopes: SampleSlopes, power: int) -> dict[str, Tensor]:
        """The sums of one block over some weights, from the gradients of single samples."""
        outputs, axes = self._outputs(w, block, slopes)
        single = SingleGradients(self.source, self.space.unflatten(w.detach()), block, axes, ways.others)
        totals: dict[str, Tensor] = {}
        for along, weights in slopes.of_block(outputs, block):
            _add(totals, ways.single(single, axes.first(along), range(axes.n)), power, weights)
        return totals

    def _outputs(self, w: Tensor, block: int, slopes: SampleSlopes) -> tuple[Outputs, SampleAxes]:
        with torch.no_grad():
            outputs = self.source.outputs(self.space.unflatten(w.detach()), block)
        return outputs, slopes.axes(outputs, block)

    def tested(self, w: Tensor, block: int, slopes: SampleSlopes, power: int) -> _Ways:
        """The fastest ways whose results for a few samples of a block are right.

        Layers may have the samples on any axis, also folded with positions. Those that mix samples, or are also used
        without being called, have no such axis or other sums.
        """
        outputs, axes = self._outputs(w, block, slopes)
        rows, generator = probed(axes.n), torch.Generator().manual_seed(0)
        views = axes.first(outputs.tensors)
        few = [_random_at(rows, view, generator) for view in views]
        single = SingleGradients(self.source, self.space.unflatten(w.detach()), block, axes, self.space.names)
        expected = _add({}, single.row_by_row(few, rows), power)
        _check_finite(expected)
        test = SampleSlopes(lambda _outputs, _block: axes, lambda _outputs, _block: iter([(axes.back(few), None)]))
        groups, calls = self._tested_layers(w, block, test, power, expected)
        left = [name for name in self.space.names if name not in selected_names(groups)]
        way = (
            self._tested_way(dataclasses.replace(single, names=left), few, rows, power, expected) if left else WAYS[-1]
        )
        return _Ways(groups, calls, left, way)

    def _tested_layers(
        self, w: Tensor, block: int, test: SampleSlopes, power: int, expected: Mapping[str, Tensor]
    ) -> tuple[dict[str, LayerGroup], dict[str, CallAxes]]:
        """Layers whose sums are right, and the axes of the samples in their calls."""
        groups = layer_groups(self.model, self.space.names) if self.by_layers else {}
        if not groups:
            return {}, {}
        axes = self._axes(w, block, groups, test)
        groups = {name: group for name, group in groups.items() if axes.keys() >= group.layers.keys()}
        found = self._by_layers(w, block, _Ways(groups, axes, [], WAYS[-1]), test, power) if groups else {}
        wrong = {name for name in selected_names(groups) if not _agree(found.get(name), expected[name], w.dtype)}
        groups = {name: group for name, group in groups.items() if not selected_names({name: group}) & wrong}
        return groups, axes

    def _axes(self, w: Tensor, block: int, groups: Mapping[str, LayerGroup], test: SampleSlopes) -> dict[str, CallAxes]:
        """The axes of the samples in the calls of layers, as far as they can be told."""
        outputs, calls = self._watched(w, block, groups)
        samples = test.axes(outputs, block)
        watched = [output for own in calls.values() for _, output in own]
        if not watched:
            return {name: CallAxes((), keeps_positions=True) for name in calls}
        rows, generator, views = probed(samples.n), torch.Generator().manual_seed(0), samples.first(outputs.tensors)
        along = [
            _random_at(part, view, generator) for part in (*([row] for row in rows), range(samples.n)) for view in views
        ]
        step = len(views)
        found = [_pulled(outputs, watched, samples.back(along[i : i + step])) for i in range(0, len(along), step)]
        by_call, result = iter(zip(*found, strict=True)), {}
        for group in groups.values():
            for name, layer in group.layers.items():
                slopes = [next(by_call) for _ in calls[name]]
                if (axes := axes_of_calls(layer, calls[name], slopes, rows, samples.n)) is not None:
                    result[name] = axes
        return result

    @staticmethod
    def _tested_way(
        single: SingleGradients, few: Sequence[Tensor], rows: Sequence[int], power: int, expected: Mapping[str, Tensor]
    ) -> Way:
        """The fastest way to the gradients of single samples whose results are right."""
        for way in WAYS[:-1]:
            try:
                found = _add({}, way(single, few, rows), power)
            except Exception:  # noqa: BLE001, S112 - a model that knows how many samples it sees fails in any way
                continue
            if all(_agree(found[name], expected[name], few[0].dtype) for name in single.names):
                return way
        return WAYS[-1]


def _pulled(outputs: Outputs, watched: Sequence[Tensor], along: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """The slopes at the outputs of layers, for slopes along the outputs of the model."""
    rows = [slope.to(tensor) for slope, tensor in zip(along, outputs.tensors, strict=True)]
    return torch.autograd.grad(outputs.tensors, watched, rows, retain_graph=True, allow_unused=True)


def _add(
    totals: dict[str, Tensor], gradients: Iterator[dict[str, Tensor]], power: int, weights: Tensor | None = None
) -> dict[str, Tensor]:
    """Add the powers of gradients of single samples, each with its factor."""
    first = 0
    for some in gradients:
        count = len(next(iter(some.values())))
        factors = None if weights is None else weights[first : first + count]
        for name, own in some.items():
            totals[name] = totals.get(name, 0.0) + sum_of_powers(own, power, factors)
        first += count
    return totals


def _random_at(rows: Sequence[int], like: Tensor, generator: torch.Generator) -> Tensor:
    """Random slopes of some samples, and zero for all others."""
    slopes = torch.zeros_like(like)
    slopes[list(rows)] = torch.randn(len(rows), *like.shape[1:], generator=generator).to(like)
    return slopes


def _check_finite(sums: Mapping[str, Tensor]) -> None:
    if not all(bool(torch.isfinite(part).all()) for part in sums.values()):
        raise NonFiniteError(
            expected="a loss with finite derivatives at these weights",
            got="NaN or infinity",
            hint="Check the data for NaN, and the weights: the training may have diverged.",
        )


def _agree(found: Tensor | None, expected: Tensor, dtype: torch.dtype) -> bool:
    largest = float(expected.abs().max()) if expected.numel() else 0.0
    if found is None:  # a layer that is never called has no gradient
        return largest == 0
    accuracy = min(0.05, 1e3 * torch.finfo(dtype).eps)
    return bool(torch.allclose(found.to(expected), expected, rtol=accuracy, atol=accuracy * largest))
