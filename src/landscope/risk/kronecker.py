"""Kronecker factors of the Fisher information of linear and convolutional layers."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Generator, Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from landscope.attention import plain_kernels
from landscope.errors import InputError
from landscope.parameters import ParameterSpace
from landscope.risk.data import Block, call_model
from landscope.risk.evaluation import ClosureModule

__all__ = ["LayerFactors", "check_layers", "kronecker_factors"]


@dataclasses.dataclass(frozen=True)
class LayerFactors:
    """The factors of one layer: its Fisher information is near their Kronecker product.

    Args:
        name: Of the layer.
        columns: Where its weights lie in w, ``[m, n]``; the last column is the bias where that is selected.
        inputs: A, mean over samples of a a', summed over positions, ``[n, n]``.
        outputs: G, mean over samples and positions of g g' over all answers of the model, ``[m, m]``.
    """

    name: str
    columns: Int[Tensor, "m n"]
    inputs: Float[Tensor, "n n"]
    outputs: Float[Tensor, "m m"]


@dataclasses.dataclass
class _Layer:
    name: str
    module: nn.Linear | nn.Conv2d
    columns: Tensor
    with_bias: bool
    entered: Tensor | None = None
    left: Tensor | None = None

    def begin(self, device: torch.device) -> None:
        m, n = self.columns.shape
        self.a = torch.zeros(n, n, dtype=torch.float64, device=device)
        self.g = torch.zeros(m, m, dtype=torch.float64, device=device)

    def positions(self, x: Tensor) -> Tensor:
        """What enters the layer as rows, ``[b, positions, n]``."""
        module = self.module
        if isinstance(module, nn.Conv2d):
            patches = F.unfold(x, module.kernel_size, module.dilation, module.padding, module.stride)  # ty: ignore[invalid-argument-type]
            rows = patches.transpose(1, 2)
        else:
            rows = x.reshape(len(x), -1, x.shape[-1])
        return torch.cat([rows, torch.ones_like(rows[..., :1])], dim=-1) if self.with_bias else rows

    def slopes(self, g: Tensor) -> Tensor:
        """Slopes at the outputs as rows, ``[b, positions, m]``."""
        return (
            g.flatten(2).transpose(1, 2) if isinstance(self.module, nn.Conv2d) else g.reshape(len(g), -1, g.shape[-1])
        )


def kronecker_factors(
    model: nn.Module, space: ParameterSpace, pairs: Iterable[Block], w: Float[Tensor, " N"]
) -> list[LayerFactors]:
    """The factors of every layer that holds selected weights.

    Args:
        model: A private copy in eval mode, whose outputs are logits ``[b, classes]``.
        space: The selected weights.
        pairs: The data.
        w: Where.

    Raises:
        InputError: If a selected parameter belongs to another kind of layer, or the outputs have another shape.
    """
    layers = _layers(model, space)
    for layer in layers:
        layer.begin(w.device)
    called, count = ClosureModule(model, call_model), 0
    for inputs, _ in pairs:
        with _watched(layers), torch.enable_grad(), plain_kernels():
            parameters = space.unflatten(w.detach().clone().requires_grad_())
            replaced = {f"model.{name}": value for name, value in parameters.items()}
            logits = torch.func.functional_call(called, replaced, (inputs,))
            _add(layers, logits)
        count += len(logits)
    return [LayerFactors(layer.name, layer.columns, layer.a / count, layer.g / count) for layer in layers]


def _add(layers: list[_Layer], logits: Tensor) -> None:
    """Add what the samples of one block say to the factors."""
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise InputError(
            expected="outputs [b, classes], the logits of a classifier",
            got=f"shape {list(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__,
            hint="Use another penalty.",
        )
    for layer in layers:
        if layer.entered is None:
            raise InputError(
                expected="layers that are called as modules",
                got=f"{layer.name}, whose weights are used without calling it, or not at all",
                hint="Select other weights, or use another penalty.",
            )
        rows = layer.positions(layer.entered).flatten(0, 1).double()
        layer.a += rows.T @ rows
    logs = logits.log_softmax(dim=1)
    left = [layer.left for layer in layers if layer.left is not None]
    for answer in range(logits.shape[1]):
        weight = logs[:, answer].detach().exp().sqrt()
        for layer, g in zip(layers, torch.autograd.grad(logs[:, answer].sum(), left, retain_graph=True), strict=True):
            slopes = layer.slopes(g)
            rows = (weight[:, None, None] * slopes).flatten(0, 1).double()
            layer.g += rows.T @ rows / slopes.shape[1]


@contextlib.contextmanager
def _watched(layers: list[_Layer]) -> Generator[None]:
    """Note what enters and leaves each layer during one call."""

    def watch(layer: _Layer) -> torch.utils.hooks.RemovableHandle:
        def note(_: nn.Module, entered: tuple[Tensor, ...], left: Tensor) -> Tensor:
            if layer.left is not None:
                raise InputError(
                    expected="layers that are called once", got=f"{layer.name} called again", hint="Select others."
                )
            layer.entered, layer.left = entered[0].detach(), left
            return left.clone()  # what follows may work in place

        return layer.module.register_forward_hook(note)

    handles = [watch(layer) for layer in layers]
    try:
        yield
    finally:
        for handle, layer in zip(handles, layers, strict=True):
            handle.remove()
            layer.entered = layer.left = None


def check_layers(model: nn.Module, space: ParameterSpace) -> None:
    """Raise where a selected parameter belongs to a layer that has no such factors."""
    _layers(model, space)


def _layers(model: nn.Module, space: ParameterSpace) -> list[_Layer]:
    """The layers that hold the selected parameters."""
    modules = dict(model.named_modules())
    homes = dict.fromkeys(name.rpartition(".")[0] for name in space.names)
    return [_layer(name, modules[name], model, space) for name in homes]


def _layer(name: str, module: nn.Module, model: nn.Module, space: ParameterSpace) -> _Layer:
    prefix = f"{name}." if name else ""
    own = {full.removeprefix(prefix) for full in space.names if full.rpartition(".")[0] == name}
    plain = isinstance(module, nn.Linear) or (
        isinstance(module, nn.Conv2d) and module.groups == 1 and not isinstance(module.padding, str)
        and module.padding_mode == "zeros"
    )  # fmt: skip
    if not plain or "weight" not in own:
        raise InputError(
            expected="weights of linear layers, or of 2-d convolutions in one group",
            got=f"{', '.join(sorted(prefix + part for part in own))} of {type(module).__name__}",
            hint="Select other weights, or use another penalty.",
        )
    assert isinstance(module, nn.Linear | nn.Conv2d)  # noqa: S101 - just asked
    everything = model.named_parameters(remove_duplicate=False)
    if sum(parameter is module.weight for _, parameter in everything) > 1:
        raise InputError(
            expected="layers with weights of their own", got=f"{name}, tied to another",
            hint="The factors of one use say nothing of the other: use another penalty.",
        )  # fmt: skip
    columns = space.columns([f"{prefix}weight"]).view(len(module.weight), -1)
    if "bias" in own:
        columns = torch.cat([columns, space.columns([f"{prefix}bias"])[:, None]], dim=1)
    return _Layer(name, module, columns, "bias" in own)
