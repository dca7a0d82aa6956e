"""Kronecker factors of the Fisher information of linear and convolutional layers."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Generator, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from landscope._checks import for_float64
from landscope.attention import plain_kernels
from landscope.errors import InputError
from landscope.parameters import ParameterSpace
from landscope.risk.data import Block, call_model
from landscope.risk.evaluation import ClosureModule

__all__ = ["LayerFactors", "check_layers", "kronecker_factors"]


@dataclasses.dataclass(frozen=True)
class LayerFactors:
    """The Kronecker factors of one layer; their product approximates its Fisher information.

    Args:
        name: Name of the layer.
        columns: Positions of its weights in w, ``[m, n]``; the last column is the bias if the bias is selected.
        inputs: Input factor A: mean over samples of a a', summed over positions, ``[n, n]``.
        outputs: Output factor G: mean over samples and positions of g g', over all classes, ``[m, m]``.
    """

    name: str
    columns: Int[Tensor, "m n"]
    inputs: Float[Tensor, "n n"]
    outputs: Float[Tensor, "m m"]


@dataclasses.dataclass
class _Layer:
    """A layer, the sums of its factors, and its input and output in the current call."""

    name: str
    module: nn.Linear | nn.Conv2d
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


def kronecker_factors(
    model: nn.Module, space: ParameterSpace, pairs: Iterable[Block], w: Float[Tensor, " N"]
) -> list[LayerFactors]:
    """The Kronecker factors at ``w`` of every layer with selected weights; the model is a classifier in eval mode.

    Raises:
        InputError: If a selected parameter belongs to another kind of layer, or the outputs are not ``[b, classes]``.
    """
    layers, module, count = _layers(model, space), ClosureModule(model, call_model), 0
    for inputs, _ in pairs:
        with _recorded(layers), torch.enable_grad(), plain_kernels():
            parameters = space.unflatten(w.detach().clone().requires_grad_())
            logits = module.with_parameters(parameters, inputs)
            _add(layers, logits)
        count += len(logits)
    return [LayerFactors(layer.name, layer.columns, layer.a / count, layer.g / count) for layer in layers]


def _add(layers: list[_Layer], logits: Tensor) -> None:
    """Add the contribution of one block to the factors."""
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise InputError(
            expected="outputs [b, classes], the logits of a classifier",
            got=f"shape {list(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__,
            hint="Use another penalty.",
        )
    for layer in layers:
        if layer.input is None:
            raise InputError(
                expected="layers that the model calls as modules",
                got=f"{layer.name}, which is not called as a module",
                hint="Select other weights, or use another penalty.",
            )
        rows = for_float64(layer.positions(layer.input).flatten(0, 1)).double()
        layer.a += rows.T @ rows
    logs = logits.log_softmax(dim=1)
    outputs = [layer.output for layer in layers if layer.output is not None]
    for label in range(logits.shape[1]):
        weight = logs[:, label].detach().exp().sqrt()
        for layer, g in zip(layers, torch.autograd.grad(logs[:, label].sum(), outputs, retain_graph=True), strict=True):
            slopes = layer.slopes(g)
            rows = for_float64((weight[:, None, None] * slopes).flatten(0, 1)).double()
            layer.g += rows.T @ rows / slopes.shape[1]


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
    modules = dict(model.named_modules())
    layer_names = dict.fromkeys(name.rpartition(".")[0] for name in space.names)
    return [_layer(name, modules[name], model, space) for name in layer_names]


def _layer(name: str, module: nn.Module, model: nn.Module, space: ParameterSpace) -> _Layer:
    prefix = f"{name}." if name else ""
    selected = {full.removeprefix(prefix) for full in space.names if full.rpartition(".")[0] == name}
    plain = isinstance(module, nn.Linear) or (
        isinstance(module, nn.Conv2d) and module.groups == 1 and not isinstance(module.padding, str)
        and module.padding_mode == "zeros"
    )  # fmt: skip
    if not plain or "weight" not in selected:
        raise InputError(
            expected="weights of linear layers, or of 2-d convolutions in one group",
            got=f"{', '.join(sorted(prefix + part for part in selected))} of {type(module).__name__}",
            hint="Select other weights, or use another penalty.",
        )
    assert isinstance(module, nn.Linear | nn.Conv2d)  # noqa: S101 - the check above
    everything = model.named_parameters(remove_duplicate=False)
    if sum(parameter is module.weight for _, parameter in everything) > 1:
        raise InputError(
            expected="layers that share no weights", got=f"{name}, tied to another layer",
            hint="Use another penalty: factors of one layer do not describe a shared weight.",
        )  # fmt: skip
    columns = space.columns([f"{prefix}weight"]).view(len(module.weight), -1)
    if "bias" in selected:
        columns = torch.cat([columns, space.columns([f"{prefix}bias"])[:, None]], dim=1)
    return _Layer(name, module, columns, "bias" in selected)
