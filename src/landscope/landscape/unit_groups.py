"""Which units of a network may change places together: found by tracing the network."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable
from typing import Any, Literal, NoReturn

import torch
from torch import fx, nn
from torch.nn import functional

from landscope.errors import InputError

__all__ = ["UnitGroups", "WeightedLayer", "unit_groups"]

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
)  # fmt: skip
_ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid,
    nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.LogSigmoid, nn.Tanhshrink, nn.Identity,
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout,
)  # fmt: skip
_POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
)  # fmt: skip
_ELEMENTWISE_CALLS: set[Any] = {
    torch.relu, functional.relu, functional.leaky_relu, functional.elu, functional.gelu, functional.silu,
    functional.selu, torch.tanh, functional.tanh, torch.sigmoid, functional.sigmoid, functional.softplus,
    functional.dropout, operator.neg, "relu", "relu_", "tanh", "sigmoid", "contiguous", "clone",
}  # fmt: skip
_POOL_CALLS: set[Any] = {
    functional.max_pool1d, functional.max_pool2d, functional.avg_pool1d, functional.avg_pool2d,
    functional.adaptive_avg_pool1d, functional.adaptive_avg_pool2d, functional.adaptive_max_pool2d,
}  # fmt: skip
_JOINING_CALLS: set[Any] = {
    operator.add, operator.iadd, operator.sub, operator.mul, torch.add, torch.sub, torch.mul, "add", "add_", "mul",
}  # fmt: skip
_FIXED = 0
"""The group of the inputs and the outputs, whose order has a meaning."""


@dataclasses.dataclass(frozen=True)
class _Units:
    """The units along one axis of a value: channels of maps ``[b, c, ...]``, or the last axis of features."""

    group: int
    kind: Literal["maps", "features", "flattened"]


@dataclasses.dataclass(frozen=True)
class WeightedLayer:
    """A layer that reads the units of one group and makes those of another.

    Args:
        name: Its name in the model.
        reads: Group of its inputs.
        makes: Group of its outputs.
    """

    name: str
    reads: int
    makes: int


@dataclasses.dataclass(frozen=True)
class UnitGroups:
    """Groups of units whose order is free, by number; every layer that makes or reads them follows their order.

    Args:
        sizes: Number of units of each group whose order is free, in the order in which they are made.
        weighted: Linear and convolution layers.
        norms: Layers with one entry for each unit, by name: their group.
    """

    sizes: dict[int, int]
    weighted: tuple[WeightedLayer, ...]
    norms: dict[str, int]


def unit_groups(model: nn.Module) -> UnitGroups:
    """The groups of units of a model that may change places, found by tracing it.

    Raises:
        InputError: If the model cannot be traced, or holds a layer for which this is not known.
    """
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    if len(names) != len(dict(model.named_parameters())):
        _refuse("layers with weights of their own", "a weight that two layers share")
    try:
        traced = fx.symbolic_trace(model)
    except Exception as error:
        raise InputError(
            expected="a model that torch.fx can trace, to find which units belong together", got=str(error),
            hint="Align models whose forward has no branches on data.",
        ) from error  # fmt: skip
    return _Walk(traced).groups()


def _refuse(expected: str, got: str) -> NoReturn:
    raise InputError(
        expected=f"{expected}, to align its units", got=got,
        hint="Units are aligned in networks of linear and convolution layers, normalisation by unit, activations, "
        "pooling, flattening, and sums.",
    )  # fmt: skip


class _Walk:
    """A walk through the graph in the order of execution, which joins groups that must keep one order."""

    def __init__(self, traced: fx.GraphModule) -> None:
        self._traced, self._parents, self._sizes = traced, [_FIXED], dict[int, int]()
        self._weighted: dict[str, tuple[int, int]] = {}
        self._norms: dict[str, int] = {}
        self._values: dict[fx.Node, _Units] = {}

    def groups(self) -> UnitGroups:
        """The groups of the whole graph."""
        steps: dict[str, Callable[[fx.Node], _Units]] = {
            "placeholder": lambda _: _Units(_FIXED, "features"),
            "call_module": self._module,
            "call_function": self._call,
            "call_method": self._call,
        }
        for node in self._traced.graph.nodes:
            if node.op == "output":
                for source in node.all_input_nodes:
                    self._join(self._values[source].group, _FIXED)
            elif node.op in steps:
                self._values[node] = steps[node.op](node)
            else:
                _refuse("weights inside linear, convolution and normalisation layers", f"{node.target} outside of them")
        self._check_all_known()
        weighted = [WeightedLayer(name, self._root(a), self._root(b)) for name, (a, b) in self._weighted.items()]
        free = dict.fromkeys(layer.makes for layer in weighted if layer.makes != _FIXED)
        norms = {name: self._root(group) for name, group in self._norms.items()}
        return UnitGroups({group: self._sizes[group] for group in free}, tuple(weighted), norms)

    def _check_all_known(self) -> None:
        known = {*self._weighted, *self._norms}
        for name, _ in self._traced.named_parameters():
            if name.rpartition(".")[0] not in known:
                _refuse("layers that are known", f"the parameter {name} of another one")

    def _module(self, node: fx.Node) -> _Units:
        name, layer = str(node.target), self._traced.get_submodule(str(node.target))
        units = self._values[node.all_input_nodes[0]]
        if isinstance(layer, _WEIGHTED):
            return self._weighted_layer(name, layer, units)
        if isinstance(layer, _NORMS) or self._norms_all_units(layer, units):
            return self._norm(name, layer, units)
        if isinstance(layer, _ELEMENTWISE):
            return units
        if isinstance(layer, _POOLS):
            return self._maps(name, units)
        if isinstance(layer, nn.Flatten) and layer.start_dim == 1:
            return self._flattened(units)
        _refuse("a layer for which it is known how units move through it", f"{name}: {type(layer).__name__}")

    def _norm(self, name: str, layer: Any, units: _Units) -> _Units:
        entries = _entries(layer)
        group = self._root(units.group)
        if units.kind == "flattened" or (group != _FIXED and entries != self._sizes[group]):
            _refuse(f"{name} to normalise each unit", f"{entries} entries on {units.kind}")
        self._norms[name] = units.group
        return units

    def _norms_all_units(self, layer: nn.Module, units: _Units) -> bool:
        if isinstance(layer, nn.LayerNorm):
            return units.kind == "features" and len(layer.normalized_shape) == 1
        return isinstance(layer, nn.GroupNorm) and layer.num_groups == 1 and units.kind == "maps"

    def _weighted_layer(self, name: str, layer: Any, units: _Units) -> _Units:
        is_linear = isinstance(layer, nn.Linear)
        if not is_linear and layer.groups == layer.in_channels == layer.out_channels and layer.groups > 1:
            self._norms[name] = self._maps(name, units).group  # a filter for each channel
            return units
        if not is_linear and layer.groups > 1:
            _refuse("convolutions of all channels or of one", f"{name} with {layer.groups} groups")
        is_fixed = self._root(units.group) == _FIXED
        if not is_fixed:
            self._check_reads(name, layer, units)
        makes = self._new(layer.weight.shape[0])
        if name in self._weighted:  # called twice: the same units each time
            for known, group in zip(self._weighted[name], (units.group, makes), strict=True):
                self._join(known, group)
        self._weighted[name] = units.group, makes
        return _Units(makes, "features" if is_linear else "maps")

    def _check_reads(self, name: str, layer: Any, units: _Units) -> None:
        size, width = self._sizes[self._root(units.group)], layer.weight.shape[1]
        fits = {
            "maps": not isinstance(layer, nn.Linear) and width == size,
            "features": isinstance(layer, nn.Linear) and width == size,
            "flattened": isinstance(layer, nn.Linear) and width % size == 0,
        }
        if not fits[units.kind]:
            _refuse(
                f"{name} to read the {size} units of the layer before along their axis",
                f"{width} inputs of {units.kind}",
            )

    def _call(self, node: fx.Node) -> _Units:
        sources = [self._values[source] for source in node.all_input_nodes]
        if node.target in _JOINING_CALLS and sources:
            for other in sources[1:]:
                self._join(sources[0].group, other.group)
            if len({source.kind for source in sources if self._root(source.group) != _FIXED}) > 1:
                _refuse("sums of values of one shape", f"{node.name} of {' and '.join(s.kind for s in sources)}")
            return sources[0]
        if node.target in _ELEMENTWISE_CALLS:
            return sources[0]
        if node.target in _POOL_CALLS:
            return self._maps(node.name, sources[0])
        if node.target in (torch.flatten, "flatten") and _argument(node, 1, "start_dim", 0) == 1:
            return self._flattened(sources[0])
        if node.target in ("view", "reshape") and len(node.args) == 3 and node.args[2] == -1:
            return self._flattened(sources[0])
        if node.target == "size":
            return _Units(_FIXED, "features")
        if node.target in (torch.mean, "mean") and _is_over_places(_argument(node, 1, "dim", None)):
            return dataclasses.replace(self._maps(node.name, sources[0]), kind="features")
        _refuse("operations for which it is known how units move through them", f"{node.name}")

    def _maps(self, name: str, units: _Units) -> _Units:
        if self._root(units.group) != _FIXED and units.kind != "maps":
            _refuse(f"{name} to work on maps of channels", f"{units.kind}")
        return units

    def _flattened(self, units: _Units) -> _Units:
        return dataclasses.replace(units, kind="flattened") if units.kind == "maps" else units

    def _new(self, size: int) -> int:
        self._parents.append(len(self._parents))
        self._sizes[self._parents[-1]] = size
        return self._parents[-1]

    def _root(self, group: int) -> int:
        while self._parents[group] != group:
            group = self._parents[group]
        return group

    def _join(self, first: int, second: int) -> None:
        first, second = sorted((self._root(first), self._root(second)))
        if first != _FIXED and self._sizes[first] != self._sizes[second]:
            _refuse("sums of values with the same units", f"{self._sizes[first]} and {self._sizes[second]} units")
        self._parents[second] = first


def _entries(layer: Any) -> int:
    """Number of units that a layer normalises."""
    if isinstance(layer, nn.LayerNorm):
        return layer.normalized_shape[0]
    return layer.num_channels if isinstance(layer, nn.GroupNorm) else layer.num_features


def _argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def _is_over_places(dims: Any) -> bool:
    """Whether a mean is over all places of maps ``[b, c, h, w]``."""
    return isinstance(dims, tuple | list) and sorted(dim % 4 for dim in dims) == [2, 3]
