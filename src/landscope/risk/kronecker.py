"""Kronecker factors of the Fisher information of linear and convolutional layers."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from landscope._checks import for_float64
from landscope.attention import plain_kernels
from landscope.errors import InputError
from landscope.parameters import ParameterSpace, named_layers
from landscope.risk.evaluation import on_all_data
from landscope.risk.fisher import FisherInformation
from landscope.risk.layer_terms import is_transposed_linear
from landscope.risk.outputs import Outputs, output_source
from landscope.risk.sample_gradients import Slopes

__all__ = ["LayerFactors", "check_layers", "kronecker_factors"]


@dataclasses.dataclass(frozen=True)
class LayerFactors:
    """The Kronecker factors of one layer; their product approximates its Fisher information.

    Args:
        name: Name of the layer.
        columns: Positions of its weights in w, ``[m, n]``; the last column is the bias if the bias is selected.
        inputs: Input factor A: mean over samples of a a', summed over positions, ``[n, n]``.
        outputs: Output factor G: mean over samples and positions of g g', over all answers, ``[m, m]``.
    """

    name: str
    columns: Int[Tensor, "m n"]
    inputs: Float[Tensor, "n n"]
    outputs: Float[Tensor, "m m"]


@dataclasses.dataclass
class _Layer:
    """A layer, the sums of its factors, and its input and output in the current call."""

    name: str
    module: nn.Module
    columns: Tensor
    with_bias: bool
    a: Any = 0.0
    g: Any = 0.0
    input: Tensor | None = None
    output: Tensor | None = None

    def positions(self, x: Tensor) -> Tensor:
        """The inputs of the layer as rows, ``[b, positions, n]``."""
        module = self.module
        if isinstance(module, nn.Conv2d):
            patches = F.unfold(x, module.kernel_size, module.dilation, module.padding, module.stride)  # ty: ignore[invalid-argument-type]
            rows = patches.transpose(1, 2)
        else:
            rows = x.reshape(len(x), -1, x.shape[-1])
        return torch.cat([rows, torch.ones_like(rows[..., :1])], dim=-1) if self.with_bias else rows

    def slopes(self, g: Tensor) -> Tensor:
        """The gradients at the outputs as rows, ``[b, positions, m]``."""
        convolves = isinstance(self.module, nn.Conv2d)
        return g.flatten(2).transpose(1, 2) if convolves else g.reshape(len(g), -1, g.shape[-1])


@on_all_data()
def kronecker_factors(
    fisher: FisherInformation, w: Float[Tensor, " N"], *, n_draws: int | None = None, seed: int = 0
) -> list[LayerFactors]:
    """The Kronecker factors at ``w`` of every layer with selected weights.

    Args:
        fisher: The Fisher information to approximate.
        w: Where.
        n_draws: Answers drawn for each sample; by default all answers are taken where they are at most 100, and 10 are
            drawn where they are more. Where the distribution of the answers is not known, the targets of the data take
            their place.
        seed: Seed of the draws.

    Raises:
        InputError: If a selected parameter belongs to another kind of layer, or a layer is called twice.
    """
    layers, source, count = _layers(fisher.model, fisher.space), output_source(fisher.blocks, fisher.model), 0
    draws = {} if n_draws is None else {"n_draws": n_draws}
    slopes = fisher.slopes(source, w, "auto" if n_draws is None else "monte-carlo", seed=seed, **draws)
    for block in range(source.n_blocks):
        source.prepare(fisher.space.unflatten(w), block)
        with _recorded(layers), torch.enable_grad(), plain_kernels():
            outputs = source.outputs(fisher.space.unflatten(w.detach().clone().requires_grad_()), block)
            calls = [(layer.input, layer.output) for layer in layers]
        _add(layers, calls, outputs, slopes(outputs.detached(), block))
        count += len(outputs.tensors[0])
    weight = fisher.weight(w)
    return [LayerFactors(layer.name, layer.columns, layer.a / count, layer.g / weight) for layer in layers]


def _add(
    layers: list[_Layer],
    calls: Sequence[tuple[Tensor | None, Tensor | None]],
    outputs: Outputs,
    slopes: Iterator[Slopes],
) -> None:
    """Add the contribution of one block to the factors."""
    watched = []
    for layer, (entered, left) in zip(layers, calls, strict=True):
        if entered is None or left is None:
            raise InputError(
                expected="layers that the model calls as modules",
                got=f"{layer.name}, which is not called as a module",
                hint="Select other weights, or use another penalty.",
            )
        rows = for_float64(layer.positions(entered).flatten(0, 1)).double()
        layer.a += rows.T @ rows
        watched.append(left)
    for along, _ in slopes:
        found = torch.autograd.grad(outputs.tensors, watched, list(along), retain_graph=True, allow_unused=True)
        for layer, output, g in zip(layers, watched, found, strict=True):
            rows = layer.slopes(torch.zeros_like(output) if g is None else g)
            flat = for_float64(rows.flatten(0, 1)).double()
            layer.g += flat.T @ flat / rows.shape[1]


@contextlib.contextmanager
def _recorded(layers: list[_Layer]) -> Generator[None]:
    """Record the input and the output of each layer during one call."""

    def record(layer: _Layer) -> torch.utils.hooks.RemovableHandle:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            if layer.output is not None:
                raise InputError(
                    expected="layers that the model calls once",
                    got=f"a second call of {layer.name}",
                    hint="Select other weights.",
                )
            layer.input, layer.output = inputs[0].detach(), output
            return output.clone()  # the next layer may change it in place

        return layer.module.register_forward_hook(hook)

    handles = [record(layer) for layer in layers]
    try:
        yield
    finally:
        for handle, layer in zip(handles, layers, strict=True):
            handle.remove()
            layer.input = layer.output = None


def check_layers(model: nn.Module, space: ParameterSpace) -> None:
    """Raise if a selected parameter belongs to a layer without Kronecker factors."""
    _layers(model, space)


def _layers(model: nn.Module, space: ParameterSpace) -> list[_Layer]:
    """The layers that hold the selected parameters."""
    modules = dict(named_layers(model))
    layer_names = dict.fromkeys(name.rpartition(".")[0] for name in space.names)
    return [_layer(name, modules[name], model, space) for name in layer_names]


def _layer(name: str, module: nn.Module, model: nn.Module, space: ParameterSpace) -> _Layer:
    prefix = f"{name}." if name else ""
    selected = {full.removeprefix(prefix) for full in space.names if full.rpartition(".")[0] == name}
    plain = isinstance(module, nn.Linear) or is_transposed_linear(module) or (
        isinstance(module, nn.Conv2d) and module.groups == 1 and not isinstance(module.padding, str)
        and module.padding_mode == "zeros"
    )  # fmt: skip
    if not plain or "weight" not in selected:
        raise InputError(
            expected="weights of linear layers, or of 2-d convolutions in one group",
            got=f"{', '.join(sorted(prefix + part for part in selected))} of {type(module).__name__}",
            hint="Select other weights, or use another penalty.",
        )
    everything = model.named_parameters(remove_duplicate=False)
    if sum(parameter is module.get_parameter("weight") for _, parameter in everything) > 1:
        raise InputError(
            expected="layers that share no weights", got=f"{name}, tied to another layer",
            hint="Use another penalty: factors of one layer do not describe a shared weight.",
        )  # fmt: skip
    columns = space.columns([f"{prefix}weight"]).view(len(module.get_parameter("weight")), -1)
    columns = columns.T if is_transposed_linear(module) else columns
    if "bias" in selected:
        columns = torch.cat([columns, space.columns([f"{prefix}bias"])[:, None]], dim=1)
    return _Layer(name, module, columns, "bias" in selected)
