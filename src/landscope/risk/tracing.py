"""A model cut in two by tracing: a prefix that the selected parameters do not change, and a suffix."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import inspect
from collections.abc import Generator, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

__all__ = ["AffineNode", "SplitModel", "affine_shift", "in_place", "largest_tensor", "split_model", "substituted_call"]

_LINEAR_IN_PARAMETERS = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Embedding,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
)
"""Modules whose output, in eval mode and at a fixed input, is jointly linear in their parameters."""


@dataclasses.dataclass(frozen=True)
class AffineNode:
    """A module that is linear in its selected parameters and has only prefix outputs as inputs."""

    module: nn.Module
    inputs: tuple[int, ...]
    """Positions of its inputs among the prefix outputs."""
    selected: dict[str, str]
    """Names of its selected parameters in the module -> names in the model."""


@dataclasses.dataclass(frozen=True)
class SplitModel:
    """The parts of a model: ``model(x) == suffix(parameters, *prefix(x))``; along a line only the tail is needed.

    Args:
        prefix: Inputs -> tuple of prefix outputs, which do not depend on the selected parameters.
        prefix_is_empty: Whether the prefix outputs are the inputs.
        suffix: Prefix outputs -> outputs.
        suffix_names: Names of selected parameters inside ``suffix`` -> names in the model.
        affine: Nodes whose outputs change linearly along a line.
        tail: Outputs of the affine nodes, then the prefix outputs in ``tail_inputs`` -> outputs, or the input of
            ``head`` if there is a head.
        tail_inputs: Positions of the prefix outputs that the tail reads.
        tail_names: Names of selected parameters inside ``tail`` -> names in the model; empty in the fast case.
        head: The last linear layer, if no selected parameter is in it.
        output_is_affine: Whether the only affine node is the output.
    """

    prefix: fx.GraphModule
    prefix_is_empty: bool
    suffix: fx.GraphModule
    suffix_names: dict[str, str]
    affine: tuple[AffineNode, ...]
    tail: fx.GraphModule
    tail_inputs: tuple[int, ...]
    tail_names: dict[str, str]
    head: nn.Linear | None
    output_is_affine: bool


def split_model(model: nn.Module, names: Sequence[str]) -> SplitModel:
    """Trace ``model``, a private copy in eval mode with one input, and cut it at the parameters ``names``.

    Tracing may fail with any error; the caller then evaluates the whole model.
    """
    with _same_attributes(model):
        traced = fx.symbolic_trace(model)
    canonical = {id(dict(model.named_parameters())[name]): name for name in names}
    cut = _Cut(traced, canonical)
    head = cut.head()
    tail_output = head.args[0] if head is not None else cut.output
    boundary, affine = cut.boundary, cut.affine
    tail_inputs = [node for node in boundary if any(user in cut.touched and user not in affine for user in node.users)]
    position = {node: index for index, node in enumerate(boundary)}
    suffix = cut.extract(boundary, cut.output)
    tail = cut.extract([*affine, *tail_inputs], tail_output)
    return SplitModel(
        prefix=cut.extract(cut.placeholders, tuple(boundary)),
        prefix_is_empty=boundary == cut.placeholders,
        suffix=suffix,
        suffix_names=_names_within(suffix, canonical),
        affine=tuple(
            AffineNode(
                module=cut.module(node),
                inputs=tuple(position[source] for source in node.all_input_nodes),
                selected=_names_within(cut.module(node), canonical),
            )
            for node in affine
        ),
        tail=tail,
        tail_inputs=tuple(position[node] for node in tail_inputs),
        tail_names=_names_within(tail, canonical),
        head=None if head is None else cut.module(head),
        output_is_affine=affine == [cut.output],
    )


@contextlib.contextmanager
def _same_attributes(model: nn.Module) -> Generator[None]:
    """Restore attributes that are set in the call, as of a model that keeps its activations."""
    before = {part: dict(vars(part)) for part in model.modules()}
    try:
        yield
    finally:
        for part, attributes in before.items():
            vars(part).clear()
            vars(part).update(attributes)


def _names_within(module: nn.Module, canonical: dict[int, str]) -> dict[str, str]:
    parameters = module.named_parameters(remove_duplicate=False)
    return {name: canonical[id(parameter)] for name, parameter in parameters if id(parameter) in canonical}


class _Cut:
    """The nodes of a traced model, sorted by their dependence on the selected parameters and on the data."""

    def __init__(self, traced: fx.GraphModule, canonical: dict[int, str]) -> None:
        self._traced, self._canonical = traced, canonical
        nodes = list(traced.graph.nodes)
        self.placeholders = [node for node in nodes if node.op == "placeholder"]
        self.output = next(node for node in nodes if node.op == "output").args[0]
        self.touched = self._reached_from([node for node in nodes if self._holds_selected(node)], nodes)
        on_data = self._reached_from(self.placeholders, nodes)
        self.boundary = [
            node
            for node in nodes
            if node in on_data and node not in self.touched and any(user in self.touched for user in node.users)
        ]
        self.affine = [node for node in nodes if self._is_affine(node)]

    def module(self, node: fx.Node) -> Any:
        return self._traced.get_submodule(str(node.target))

    def _holds_selected(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return any(id(parameter) in self._canonical for parameter in self.module(node).parameters())
        if node.op == "get_attr":
            value = self._traced
            for part in str(node.target).split("."):
                value = getattr(value, part)
            return id(value) in self._canonical
        return False

    @staticmethod
    def _reached_from(sources: Iterable[fx.Node], nodes: list[fx.Node]) -> set[fx.Node]:
        reached = set(sources)
        for node in nodes:  # in order of execution
            if node.op != "output" and any(source in reached for source in node.all_input_nodes):
                reached.add(node)
        return reached

    def _is_affine(self, node: fx.Node) -> bool:
        return (
            node.op == "call_module"
            and self._holds_selected(node)
            and type(self.module(node)) in _LINEAR_IN_PARAMETERS
            and not _is_hooked(self.module(node))
            and not node.kwargs
            and all(source in self.boundary for source in node.all_input_nodes)
            and getattr(self.module(node), "max_norm", None) is None
        )

    def head(self) -> fx.Node | None:
        """The output node, if it is a linear layer without selected parameters."""
        node = self.output
        fixed = (
            isinstance(node, fx.Node)
            and node.op == "call_module"
            and type(self.module(node)) is nn.Linear
            and not _is_hooked(self.module(node))
            and not self._holds_selected(node)
            and isinstance(node.args[0], fx.Node)
        )
        return node if fixed else None

    def extract(self, inputs: Sequence[fx.Node], output: Any) -> fx.GraphModule:
        """The part of the graph that computes ``output`` from ``inputs``."""
        graph = fx.Graph()
        made: dict[fx.Node, fx.Node] = {
            node: graph.placeholder(f"in_{node.name}", default_value=_default_of(node)) for node in inputs
        }
        needed = self._needed(inputs, output)
        for node in self._traced.graph.nodes:
            if node in needed:
                made[node] = graph.node_copy(node, made.__getitem__)
        graph.output(fx.node.map_arg(output, made.__getitem__))
        part = fx.GraphModule(self._traced, graph)
        return part.eval()

    @staticmethod
    def _needed(inputs: Sequence[fx.Node], output: Any) -> set[fx.Node]:
        pending: list[fx.Node] = []
        fx.node.map_arg(output, pending.append)
        needed: set[fx.Node] = set()
        while pending:
            node = pending.pop()
            if node not in needed and node not in inputs:
                needed.add(node)
                pending.extend(node.all_input_nodes)
        return needed


def _default_of(node: fx.Node) -> Any:
    return node.args[0] if node.op == "placeholder" and node.args else inspect.Signature.empty


class _Sizes(fx.Interpreter):
    """A run of a graph that records the size of the largest tensor."""

    largest = 1

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.largest = max(self.largest, value.numel())
        return value


def largest_tensor(part: fx.GraphModule, values: Sequence[Any]) -> int:
    """Number of elements in the largest tensor that ``part`` computes from ``values``."""
    sizes = _Sizes(part)
    with torch.no_grad():
        sizes.run(*values)
    return max([sizes.largest, *(value.numel() for value in values if isinstance(value, Tensor))])


def substituted_call(
    module: nn.Module, names: dict[str, str], parameters: dict[str, Tensor], args: Sequence[Any]
) -> Any:
    """Call ``module`` with some parameters replaced; ``names`` maps names in the module to keys of ``parameters``."""
    if not names:
        return module.forward(*args)  # the parts of a private copy have no hooks
    replaced = {local: parameters[name] for local, name in names.items()}
    return torch.func.functional_call(module, replaced, tuple(args))


def affine_shift(
    node: AffineNode, parameters: dict[str, Tensor], values: Sequence[Any], out: Tensor | None = None
) -> Tensor:
    """The change of the output of an affine node by one unit along a direction; unselected parameters cancel.

    The result is written into ``out`` if its shape fits, because an allocation is slow.
    """
    inputs = tuple(values[position] for position in node.inputs)
    selected = {name: parameters[full_name] for name, full_name in node.selected.items()}
    if type(node.module) is nn.Linear and selected.keys() == {"weight"} and inputs[0].ndim == 2:
        weight = selected["weight"]
        fits = out is not None and out.shape == (len(inputs[0]), len(weight))
        return torch.mm(inputs[0], weight.T, out=out if fits else None)
    shift = {name: torch.zeros_like(parameter) for name, parameter in node.module.named_parameters()}
    return torch.func.functional_call(node.module, shift | selected, inputs)


def in_place(part: fx.GraphModule, n_overwritable: int) -> fx.GraphModule:
    """A copy with ReLUs that overwrite their input, if nothing else reads it; only the first inputs may be changed."""
    graph = copy.deepcopy(part.graph)
    overwritable = [node for node in graph.nodes if node.op == "placeholder"][:n_overwritable]
    for node in list(graph.nodes):
        if _is_relu(part, node):
            (source,) = node.all_input_nodes
            if len(source.users) == 1 and (source in overwritable or _makes_new(part, source)):
                with graph.inserting_after(node):
                    overwriting = graph.call_function(torch.relu_, (source,))
                node.replace_all_uses_with(overwriting)
                graph.erase_node(node)
    return fx.GraphModule(part, graph)


def _is_relu(part: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        module = part.get_submodule(str(node.target))
        return type(module) is nn.ReLU and not _is_hooked(module)
    return node.op == "call_function" and node.target in (torch.relu, nn.functional.relu)


def _makes_new(part: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the output of the node has its own memory."""
    if node.op != "call_module":
        return False
    module = part.get_submodule(str(node.target))
    return type(module) in (nn.Linear, nn.Conv1d, nn.Conv2d) and not _is_hooked(module)


def _is_hooked(module: nn.Module) -> bool:
    """Whether the module has hooks, which may change its result."""
    return bool(module._forward_hooks or module._forward_pre_hooks)
