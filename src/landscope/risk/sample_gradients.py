"""Sums over samples of powers of their gradients, for any slopes along the outputs of a model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from landscope._checks import device_with_float64
from landscope.errors import LandscopeError, NonFiniteError
from landscope.parameters import ParameterSpace
from landscope.risk.layer_calls import Call, CallAxes, axes_of_calls, outputs_with_calls
from landscope.risk.layer_groups import LayerGroup, layer_groups, selected_names
from landscope.risk.layer_terms import layer_term, sum_of_powers
from landscope.risk.outputs import Outputs, OutputSource
from landscope.risk.sample_axes import SampleAxes, probed
from landscope.risk.sample_costs import SampleCosts
from landscope.risk.single_gradients import WAYS, SingleGradients, Way

__all__ = ["SampleGradients", "SampleSlopes", "Slopes", "Ways"]

Slopes = tuple[Sequence[Tensor], Tensor | None]
"""Slopes along the output tensors of every sample, and a factor of each sample."""


@dataclasses.dataclass(frozen=True)
class SampleSlopes:
    """Slopes along the outputs, and where the samples lie in these.

    Args:
        axes: ``outputs, block -> axes`` of the samples in the output tensors.
        of_block: ``outputs, block -> slopes``, with a factor of each sample.
        count: ``outputs, block -> number`` of the slopes that ``of_block`` gives.
    """

    axes: Callable[[Outputs, int], SampleAxes]
    of_block: Callable[[Outputs, int], Iterator[Slopes]]
    count: Callable[[Outputs, int], int] = lambda _outputs, _block: 1


@dataclasses.dataclass(frozen=True)
class Ways:
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
    are taken sample by sample, many at once where the model allows it. There they may serve all weights: by
    multiplications (:class:`landscope.risk.sample_costs.SampleCosts`) the cheaper of the two is taken. Each way is used
    only after its results for a few samples were found equal to the derivatives of the outputs for these samples, one
    after another.

    Args:
        source: Outputs of the model.
        model: The model that the source calls, in eval mode.
        space: Selected weights.
        by_layers: Whether layers take part by their inputs where they can; None for where this costs less.
        names: Parameters whose sums are taken; all selected ones by default.
    """

    source: OutputSource
    model: nn.Module
    space: ParameterSpace
    by_layers: bool | None = None
    names: Sequence[str] | None = None

    @property
    def _names(self) -> Sequence[str]:
        return self.space.names if self.names is None else self.names

    def sums(self, w: Tensor, slopes: SampleSlopes, power: int = 2, ways: Ways | None = None) -> Tensor:
        """The sums for all slopes, in float64: ``[N]``, or as many as the named parameters have weights.

        Args:
            w: Selected weights.
            slopes: Slopes along the outputs.
            power: 1 for absolute values, 2 for squares.
            ways: How the gradients are found, as :meth:`tested_on_all` returned it at other weights.
        """
        device = device_with_float64(w.device)
        totals = {name: torch.zeros(shape, dtype=torch.float64, device=device) for name, shape in self._shapes.items()}
        ways = ways or self.tested_on_all(w, slopes, power)
        for block in range(self.source.n_blocks):
            try:
                parts = self._of_block(w, block, ways, slopes, power)
            except LandscopeError:
                raise
            except Exception:  # noqa: BLE001 - a batch of another shape, for which the layers may be called otherwise
                parts = self._of_block(w, block, self.tested(w, block, slopes, power), slopes, power)
            for name, part in parts.items():
                totals[name] += part
        return torch.cat([totals[name].flatten() for name in self._names])

    def tested_on_all(self, w: Tensor, slopes: SampleSlopes, power: int = 2) -> Ways:
        """The fastest ways for all samples, see :meth:`tested`."""
        return self.tested(w, self.source.largest_block, slopes, power, self._share)

    @property
    def _share(self) -> float:
        """All samples, in units of the largest block."""
        counts = [self.source.count(block) for block in range(self.source.n_blocks)]
        known = [count for count in counts if count]
        return sum(known) / max(known) if len(known) == len(counts) else len(counts)

    def _of_block(self, w: Tensor, block: int, ways: Ways, slopes: SampleSlopes, power: int) -> dict[str, Tensor]:
        parts = self._by_layers(w, block, ways, slopes, power) if ways.groups else {}
        return parts | (self._by_samples(w, block, ways, slopes, power) if ways.others else {})

    def _by_layers(self, w: Tensor, block: int, ways: Ways, slopes: SampleSlopes, power: int) -> dict[str, Tensor]:
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
        layers = {name: layer for group in groups.values() for name, layer in group.layers.items()}
        return outputs_with_calls(self.source, self.space, w, block, layers)

    def _by_samples(self, w: Tensor, block: int, ways: Ways, slopes: SampleSlopes, power: int) -> dict[str, Tensor]:
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

    def tested(self, w: Tensor, block: int, slopes: SampleSlopes, power: int, share: float = 1.0) -> Ways:
        """The fastest ways whose results for a few samples of a block are right.

        Layers may have the samples on any axis, also folded with positions. Those that mix samples, or are also used
        without being called, have no such axis or other sums.

        Args:
            w: Selected weights.
            block: The block.
            slopes: Slopes along the outputs.
            power: 1 or 2.
            share: Samples that will be evaluated, in units of those of the block.
        """
        outputs, axes = self._outputs(w, block, slopes)
        single = SingleGradients(self.source, self.space.unflatten(w.detach()), block, axes, self._names)
        trial = _Trial.of(single, outputs, power)
        groups, layer_axes = self._tested_layers(w, trial, slopes.count(outputs, block), share)
        left = [name for name in self._names if name not in selected_names(groups)]
        return Ways(groups, layer_axes, left, trial.way(left) if left else WAYS[-1])

    def _tested_layers(
        self, w: Tensor, trial: _Trial, n_slopes: int, share: float
    ) -> tuple[dict[str, LayerGroup], dict[str, CallAxes]]:
        """Layers whose sums are right and which take part, and the axes of the samples in their calls."""
        groups = {} if self.by_layers is False else layer_groups(self.model, self._names)
        if not groups:
            return {}, {}
        layers = {name: layer for name, layer in self.model.named_modules() if layer_term(layer) is not None}
        outputs, calls = outputs_with_calls(self.source, self.space, w, trial.single.block, layers)
        # One call of the model for each sample costs more than its multiplications.
        may_choose = self.by_layers is None and trial.way(self._names) is WAYS[0]

        def pay(groups: Mapping[str, LayerGroup], *, are_tested: bool) -> bool:
            costs = SampleCosts.of(groups, layers, calls, self._sizes, trial.single.axes.n)
            test = 0.0 if are_tested else costs.test
            return not may_choose or test + share * costs.by_layers(n_slopes) < share * costs.by_samples(n_slopes)

        if not pay(groups, are_tested=False):
            return {}, {}
        axes = trial.axes_of_calls(outputs, calls, groups)
        groups = {name: group for name, group in groups.items() if axes.keys() >= group.layers.keys()}
        if not pay(groups, are_tested=True):  # some cannot take part
            return {}, {}
        ways = Ways(groups, axes, [], WAYS[-1])
        found = self._by_layers(w, trial.single.block, ways, trial.slopes, trial.power) if groups else {}
        wrong = {name for name in selected_names(groups) if not _agree(found.get(name), trial.expected[name], w.dtype)}
        groups = {name: group for name, group in groups.items() if not selected_names({name: group}) & wrong}
        return (groups, axes) if pay(groups, are_tested=True) else ({}, {})

    @property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the parameters whose sums are taken."""
        shapes = dict(zip(self.space.names, self.space.shapes, strict=True))
        return {name: shapes[name] for name in self._names}

    @property
    def _sizes(self) -> dict[str, int]:
        return {name: math.prod(shape) for name, shape in self._shapes.items()}


@dataclasses.dataclass(frozen=True)
class _Trial:
    """Slopes of a few samples of one block, and the sums that every way must give for them.

    Args:
        single: Gradients of single samples of the block by all parameters.
        rows: The samples.
        few: Their slopes along the outputs, samples first; zero for all others.
        power: 1 or 2.
        expected: The sums, from the derivatives of the outputs for these samples, one after another.
    """

    single: SingleGradients
    rows: Sequence[int]
    few: Sequence[Tensor]
    power: int
    expected: Mapping[str, Tensor]

    @classmethod
    def of(cls, single: SingleGradients, outputs: Outputs, power: int) -> _Trial:
        rows, generator = probed(single.axes.n), torch.Generator().manual_seed(0)
        few = [_random_at(rows, view, generator) for view in single.axes.first(outputs.tensors)]
        expected = _add({}, single.row_by_row(few, rows), power)
        _check_finite(expected)
        return cls(single, rows, few, power, expected)

    @property
    def slopes(self) -> SampleSlopes:
        """The slopes of all of these samples at once."""
        axes, along = self.single.axes, self.single.axes.back(self.few)
        return SampleSlopes(lambda _outputs, _block: axes, lambda _outputs, _block: iter([(along, None)]))

    def axes_of_calls(
        self, outputs: Outputs, calls: Mapping[str, Sequence[Call]], groups: Mapping[str, LayerGroup]
    ) -> dict[str, CallAxes]:
        """The axes of the samples in the calls of layers, as far as they can be told."""
        samples, own = (
            self.single.axes,
            {name: layer for group in groups.values() for name, layer in group.layers.items()},
        )
        watched = [output for name in own for _, output in calls[name]]
        if not watched:
            return {name: CallAxes((), keeps_positions=True) for name in own}
        generator, views = torch.Generator().manual_seed(0), samples.first(outputs.tensors)
        parts = (*([row] for row in self.rows), range(samples.n))
        along = [[_random_at(part, view, generator) for view in views] for part in parts]
        by_call = iter(zip(*[_pulled(outputs, watched, samples.back(slopes)) for slopes in along], strict=True))
        result = {}
        for name, layer in own.items():
            slopes = [next(by_call) for _ in calls[name]]
            if (axes := axes_of_calls(layer, calls[name], slopes, self.rows, samples.n)) is not None:
                result[name] = axes
        return result

    def way(self, names: Sequence[str]) -> Way:
        """The fastest way to the gradients of single samples by some parameters whose results are right."""
        single = dataclasses.replace(self.single, names=names)
        for way in WAYS[:-1]:
            try:
                found = _add({}, way(single, self.few, self.rows), self.power)
            except Exception:  # noqa: BLE001, S112 - a model that knows how many samples it sees fails in any way
                continue
            if all(_agree(found[name], self.expected[name], self.few[0].dtype) for name in names):
                return way
        return WAYS[-1]


def _pulled(outputs: Outputs, watched: Sequence[Tensor], along: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """The slopes at the outputs of layers, for slopes along the outputs of the model."""
    rows = [slope.to(tensor) for slope, tensor in zip(along, outputs.tensors, strict=True)]
    free = [tensor for tensor in watched if tensor.requires_grad]  # not where a layer is called in torch.no_grad()
    slopes = torch.autograd.grad(outputs.tensors, free, rows, retain_graph=True, allow_unused=True) if free else ()
    found = iter(slopes)
    return [next(found) if tensor.requires_grad else None for tensor in watched]


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
