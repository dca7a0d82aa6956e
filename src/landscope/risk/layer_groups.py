"""Layers with a closed form for the gradients of single samples, alone or with others that share their weight."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from landscope._checks import device_with_float64
from landscope.risk.layer_calls import Call, CallAxes
from landscope.risk.layer_terms import (
    GRADIENT_NUMBERS,
    LayerTerm,
    OtherAxisError,
    gives_weight_gradients,
    layer_term,
    sum_of_powers,
)

__all__ = ["GroupTerm", "LayerGroup", "layer_groups", "selected_names"]


@dataclasses.dataclass(frozen=True)
class LayerGroup:
    """One layer, or several that share weights.

    Args:
        name: Name of the first layer.
        layers: The layers by their names.
        uses: Selected parameters by their names, each with the layers that hold it and its name in them.
    """

    name: str
    layers: Mapping[str, nn.Module]
    uses: Mapping[str, Sequence[tuple[str, str]]]

    @property
    def has_closed_form(self) -> bool:
        """Whether all layers have one, also for the sum of the gradients of a shared weight."""
        if any(layer_term(module) is None for module in self.layers.values()):
            return False
        shared = [use for uses in self.uses.values() if len(uses) > 1 for use in uses]
        return all(local == "weight" and gives_weight_gradients(self.layers[layer]) for layer, local in shared)

    def term(
        self, calls: Mapping[str, Sequence[Call]], axes: Mapping[str, CallAxes], n: int, power: int
    ) -> GroupTerm | None:
        """The sums over the n samples of one block; None if no layer is called.

        Raises:
            OtherAxisError: If the samples do not lie where they are expected in a call of a layer.
        """
        called = {layer: list(calls[layer]) for layer in self.layers if calls[layer]}
        if not all(layer in axes and axes[layer].fits(own, n) for layer, own in called.items()):
            raise OtherAxisError(self.name)
        return GroupTerm(self, called, axes, n, power) if called else None


class GroupTerm:
    r"""The sums :math:`\sum_k c_k |\nabla_k|^p` over the parameters of a group.

    The gradient of a shared weight is the sum over its uses, and the power is taken of this sum.

    Args:
        group: The layers.
        calls: Input and output of the layers that are called.
        axes: Axes of the samples in them.
        n: Number of samples.
        power: 1 or 2.
    """

    def __init__(
        self,
        group: LayerGroup,
        calls: Mapping[str, Sequence[Call]],
        axes: Mapping[str, CallAxes],
        n: int,
        power: int,
    ) -> None:
        self._calls, self._axes, self._n, self._power = calls, axes, n, power
        called = {name: [use for use in uses if use[0] in calls] for name, uses in group.uses.items()}
        self._own = {uses[0]: name for name, uses in called.items() if len(uses) == 1}
        self._shared = {name: [layer for layer, _ in uses] for name, uses in called.items() if len(uses) > 1}
        self._terms: dict[str, LayerTerm] = {}
        for layer, own in calls.items():
            kind = layer_term(group.layers[layer])
            assert kind is not None  # noqa: S101 - only groups with a closed form come here
            names = [local for use, local in self._own if use == layer]
            inputs = axes[layer].samples_first([x for x, _ in own], n)
            self._terms[layer] = kind(group.layers[layer], inputs, names, power)
        self._sums = {name: self._zeros(group.layers[layers[0]]) for name, layers in self._shared.items()}

    @staticmethod
    def _zeros(module: nn.Module) -> Tensor:
        weight = module.get_parameter("weight")
        return torch.zeros(weight.shape, dtype=torch.float64, device=device_with_float64(weight.device))

    @property
    def watched(self) -> list[Tensor]:
        """The outputs at all calls."""
        return [output for own in self._calls.values() for _, output in own]

    def add(self, slopes: Sequence[Tensor | None], weights: Tensor | None) -> None:
        """Add the samples, with the slope of each watched output (None for zero) and a factor of each sample."""
        filled = (
            torch.zeros_like(out) if slope is None else slope for out, slope in zip(self.watched, slopes, strict=True)
        )
        by_layer = {
            layer: self._axes[layer].samples_first([next(filled) for _ in own], self._n)
            for layer, own in self._calls.items()
        }
        for layer, term in self._terms.items():
            if term.sums:
                term.add(by_layer[layer], weights)
        for name, layers in self._shared.items():
            self._add_shared(name, {layer: by_layer[layer] for layer in layers}, weights)

    def _add_shared(self, name: str, slopes: Mapping[str, Sequence[Tensor]], weights: Tensor | None) -> None:
        total = self._sums[name]
        count, once = len(next(iter(slopes.values()))[0]), max(1, GRADIENT_NUMBERS // total.numel())
        for first in range(0, count, once):
            rows = slice(first, first + once)
            uses = [self._terms[layer].weight_gradients([g[rows] for g in own], rows) for layer, own in slopes.items()]
            total += sum_of_powers(sum(uses[1:], uses[0]), self._power, None if weights is None else weights[rows])

    def finish(self) -> dict[str, Tensor]:
        """The sums by the names of the parameters."""
        found = {layer: term.finish() for layer, term in self._terms.items() if term.sums}
        return {name: found[layer][local] for (layer, local), name in self._own.items()} | self._sums


def layer_groups(model: nn.Module, names: Sequence[str]) -> dict[str, LayerGroup]:
    """The groups with a closed form that hold some of the selected parameters.

    Args:
        model: The model.
        names: Names of the selected parameters.
    """
    layers = {name: module for name, module in model.named_modules() if module._parameters}
    holders = collections.defaultdict(list)
    for layer, module in layers.items():
        for local, tensor in module._parameters.items():
            if tensor is not None:
                holders[id(tensor)].append((layer, local))
    tensors = dict(model.named_parameters(remove_duplicate=False))
    uses = {name: holders[id(tensors[name])] for name in names}
    groups: dict[str, LayerGroup] = {}
    for name, own in uses.items():
        reached = {layer for layer, _ in own}
        met = [group for group in groups.values() if reached & group.layers.keys()]
        for group in met:  # a layer may share its weight with one layer and its bias with another
            del groups[group.name]
        together = {layer: layers[layer] for layer in dict.fromkeys([*(x for g in met for x in g.layers), *reached])}
        first = next(iter(together))
        groups[first] = LayerGroup(first, together, {k: v for g in met for k, v in g.uses.items()} | {name: own})
    return {name: group for name, group in groups.items() if group.has_closed_form}


def selected_names(groups: Mapping[str, LayerGroup]) -> set[str]:
    """The selected parameters of some groups."""
    return {name for group in groups.values() for name in group.uses}
