"""Kronecker factors of the Fisher information of linear and convolutional layers, at one point or over several."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from landscope._checks import check_choice, check_seed, for_float64
from landscope.errors import InputError
from landscope.full_precision import in_full_precision
from landscope.parameters import ParameterSpace, named_layers
from landscope.risk.evaluation import on_all_data
from landscope.risk.fisher import FisherInformation, FisherKind
from landscope.risk.layer_calls import Call, outputs_with_calls
from landscope.risk.layer_terms import is_transposed_linear
from landscope.risk.outputs import Outputs, output_source
from landscope.risk.sample_axes import SampleAxes, probed
from landscope.risk.sample_gradients import SampleSlopes, Slopes

__all__ = [
    "FactorSums",
    "KroneckerKind",
    "LayerFactors",
    "check_layers",
    "kronecker_factors",
    "layers_with_factors",
]

_PROBED = 8
_OTHERS = 'Select other weights with select=, or hold these by basin_penalty (method="basin").'
"""What to do with weights that have no factors."""


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
    """A layer and the sums of its factors."""

    name: str
    module: nn.Module
    columns: Tensor
    with_bias: bool
    a: Any = 0.0
    g: Any = 0.0

    def positions(self, x: Tensor) -> Tensor:
        """The inputs of the layer as rows, ``[b, positions, n]``."""
        module = self.module
        if isinstance(module, nn.Conv2d):
            patches = F.unfold(x, module.kernel_size, module.dilation, module.padding, module.stride)  # ty: ignore[invalid-argument-type]
            rows = patches.transpose(1, 2)
        else:
            rows = x.reshape(len(x), -1, x.shape[-1])
        return torch.cat([rows, torch.ones_like(rows[..., :1])], dim=-1) if self.with_bias else rows

    def factors(self, count: int, weight: float) -> tuple[Tensor, Tensor]:
        """The means of both sums; zero where the layer was never called."""
        m, n = self.columns.shape
        if not isinstance(self.a, Tensor):
            return torch.zeros(n, n, dtype=torch.float64), torch.zeros(m, m, dtype=torch.float64)
        return self.a / count, self.g / weight

    def slopes(self, g: Tensor) -> Tensor:
        """The gradients at the outputs as rows, ``[b, positions, m]``."""
        convolves = isinstance(self.module, nn.Conv2d)
        return g.flatten(2).transpose(1, 2) if convolves else g.reshape(len(g), -1, g.shape[-1])


KroneckerKind = Literal["auto", "exact", "monte-carlo", "random-signs", "empirical"]
"""Kinds of Fisher information that have Kronecker factors; see ``FisherInformation.diagonal``."""


def kronecker_factors(
    fisher: FisherInformation,
    w: Float[Tensor, " N"],
    kind: KroneckerKind = "auto",
    *,
    n_draws: int = 10,
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> list[LayerFactors]:
    """The Kronecker factors at ``w`` of every layer with selected weights, or of some.

    Args:
        fisher: The Fisher information to approximate.
        w: Where.
        kind: Kind of Fisher information, see ``FisherInformation.diagonal``.
        n_draws: Answers or random signs drawn for each sample.
        seed: Seed of the draws.
        names: Names of the layers, see :class:`FactorSums`; all with selected weights by default.

    Raises:
        InputError: If a selected parameter belongs to another kind of layer, or a layer is called twice or mixes
            samples.
    """
    sums = FactorSums(fisher, kind, n_draws=n_draws, names=names)
    sums.add(w, seed=seed)
    return sums.means()


@in_full_precision
class FactorSums:
    """The Kronecker factors of some layers, added up over points: one pass over the data and two factors in memory.

    The products of one block of samples are taken in the precision of the model, and at least in single precision;
    they are added in float64.

    Args:
        fisher: The Fisher information to approximate.
        kind: Kind of Fisher information, see ``FisherInformation.diagonal``.
        n_draws: Answers or random signs drawn for each sample.
        names: Names of the layers; all with selected weights by default.
    """

    def __init__(
        self,
        fisher: FisherInformation,
        kind: KroneckerKind = "auto",
        *,
        n_draws: int = 10,
        names: Sequence[str] | None = None,
    ) -> None:
        check_choice("kind", kind, get_args(KroneckerKind))
        self._kind: FisherKind = kind
        self._fisher, self._n_draws = fisher, n_draws
        self._layers = _layers(fisher.model, fisher.space, names)
        self._modules = {part.name: part.module for part in self._layers}
        self._source = output_source(fisher.blocks, fisher.model)
        self._checked, self._count, self._n_points, self._weight = set[str](), 0, 0, 0.0

    @on_all_data()
    def add(self, w: Float[Tensor, " N"], *, seed: int = 0) -> None:
        """Add the factors at a point.

        Args:
            w: The point.
            seed: Seed of the draws.

        Raises:
            InputError: If a layer is called twice or mixes samples.
        """
        check_seed(seed)
        fisher, layers, source = self._fisher, self._layers, self._source
        self._kind = fisher.resolved(self._kind, source, w)
        slopes = fisher.slopes(source, w, self._kind, n_draws=self._n_draws, seed=seed)
        for block in range(source.n_blocks):
            outputs, calls = outputs_with_calls(source, fisher.space, w, block, self._modules)
            samples = slopes.axes(outputs.detached(), block)
            called = [layer for layer in layers if calls[layer.name] or self._check_unused(layer, w, block)]
            watched = [_add_inputs(layer, calls[layer.name]) for layer in called]
            if samples.count > 1 and not self._checked.issuperset(names := {layer.name for layer in called}):
                _check_one_sample_each(called, watched, outputs, _of_single_samples(slopes, samples, outputs, block))
                self._checked |= names
            _add_slopes(called, watched, outputs, slopes.of_block(outputs.detached(), block), samples.count)
            self._count += samples.count
        self._weight = self._weight or fisher.weight(w)  # of the data: the same at all points
        self._n_points += 1

    def means(self) -> list[LayerFactors]:
        """The factors of each layer, as means over all samples and points; zero for a layer that is not used."""
        n, weight = self._count, self._n_points * self._weight
        return [LayerFactors(one.name, one.columns, *one.factors(n, weight)) for one in self._layers]

    @property
    def unused(self) -> set[str]:
        """The layers that the model has not called so far."""
        return {layer.name for layer in self._layers if not isinstance(layer.a, Tensor)}

    def _check_unused(self, layer: _Layer, w: Tensor, block: int) -> bool:
        """Raise where the outputs depend on a layer that is not called: its weights are used in another way."""
        space, source = self._fisher.space, self._source
        with torch.enable_grad():
            parameters = space.unflatten(w.detach().clone().requires_grad_())
            outputs = source.outputs(parameters, block).tensors
            own = [parameters[name] for name in space.layers[layer.name]]
            along = [torch.ones_like(output) for output in outputs]
            found = torch.autograd.grad(outputs, own, along, allow_unused=True)
        if any(slope is not None for slope in found):
            raise InputError(
                expected="layers that the model calls once, as modules",
                got=f"{layer.name or type(layer.module).__name__}, whose weights are used without a call of the module",
                hint=_OTHERS,
            )
        return False


def _add_inputs(layer: _Layer, calls: Sequence[Call]) -> Tensor:
    """Add the inputs of a layer in one block to its factors; return its outputs."""
    if len(calls) != 1:
        raise InputError(
            expected="layers that the model calls once, as modules",
            got=f"{len(calls)} calls of {layer.name or type(layer.module).__name__}", hint=_OTHERS,
        )  # fmt: skip
    ((entered, left),) = calls
    layer.a += _product(layer.positions(entered).flatten(0, 1))
    return left


def _add_slopes(
    layers: list[_Layer], watched: Sequence[Tensor], outputs: Outputs, slopes: Iterator[Slopes], count: int
) -> None:
    """Add the gradients of one block of samples to the factors, for each sample the mean over its positions."""
    for along, _ in slopes:
        for layer, rows in zip(layers, _rows_of_slopes(layers, watched, outputs, along), strict=True):
            layer.g += _product(rows) * (count / len(rows))


def _product(rows: Tensor) -> Tensor:
    """The sum of r r' over rows r: float32 rounds by 1e-7 times the root of their number."""
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    return for_float64(rows.T @ rows).double()


def _rows_of_slopes(
    layers: list[_Layer], watched: Sequence[Tensor], outputs: Outputs, along: Sequence[Tensor]
) -> list[Tensor]:
    """The gradients at the outputs of all layers, ``[samples and positions, m]``."""
    found = torch.autograd.grad(
        outputs.tensors, watched, list(along), retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return [layer.slopes(g).flatten(0, 1) for layer, g in zip(layers, found, strict=True)]


def _of_single_samples(
    slopes: SampleSlopes, samples: SampleAxes, outputs: Outputs, block: int
) -> Iterator[Sequence[Tensor]]:
    """Slopes along the outputs of one sample alone, for a few samples."""
    if samples.n < samples.count:  # they come one sample at a time
        yield from (along for along, _ in itertools.islice(slopes.of_block(outputs.detached(), block), _PROBED))
        return
    for row in probed(samples.n, _PROBED):
        views = [torch.zeros_like(view) for view in samples.first(outputs.detached().tensors)]
        for view in views:
            view[row] = torch.linspace(1, 2, max(1, view[row].numel())).view(view[row].shape).to(view)
        yield samples.back(views)


def _check_one_sample_each(
    layers: list[_Layer], watched: Sequence[Tensor], outputs: Outputs, singles: Iterator[Sequence[Tensor]]
) -> None:
    """Raise if a position of a layer belongs to several samples."""
    taken: dict[str, Tensor] = {}
    for along in singles:
        for layer, rows in zip(layers, _rows_of_slopes(layers, watched, outputs, along), strict=True):
            own = rows.abs().amax(dim=1) > 1e-6 * rows.abs().max()
            if layer.name in taken and bool((taken[layer.name] & own).any()):
                raise InputError(
                    expected="layers whose inputs each belong to one sample",
                    got=f"{layer.name or 'a layer'}, which is called for several samples at once",
                    hint=_OTHERS,
                )
            taken[layer.name] = taken[layer.name] | own if layer.name in taken else own


def layers_with_factors(fisher: FisherInformation, w: Float[Tensor, " N"]) -> list[str]:
    """The layers whose factors can be taken: their kind has factors, and a trial gives them.

    Args:
        fisher: The Fisher information on a few samples.
        w: Where.
    """
    space = fisher.space
    names = [name for name in space.layers if _works(lambda name=name: _layers(fisher.model, space, [name]))]
    kind: KroneckerKind = "monte-carlo" if fisher.knows_answers else "empirical"  # the layers are the same for all

    def have_factors(names: Sequence[str]) -> bool:
        sums = FactorSums(fisher, kind, n_draws=1, names=names)
        return _works(lambda: sums.add(w)) and not sums.unused

    return names if have_factors(names) else [name for name in names if have_factors([name])]


def _works(call: Callable[[], Any]) -> bool:
    try:
        call()
    except InputError:
        return False
    return True


def check_layers(model: nn.Module, space: ParameterSpace) -> None:
    """Raise if a selected parameter belongs to a layer without Kronecker factors."""
    _layers(model, space)


def _layers(model: nn.Module, space: ParameterSpace, names: Sequence[str] | None = None) -> list[_Layer]:
    """The layers that hold the selected parameters, or some of them."""
    modules = dict(named_layers(model))
    return [_layer(name, modules[name], model, space) for name in (space.layers if names is None else names)]


def _layer(name: str, module: nn.Module, model: nn.Module, space: ParameterSpace) -> _Layer:
    prefix = f"{name}." if name else ""
    selected = {full.removeprefix(prefix) for full in space.layers[name]}
    plain = isinstance(module, nn.Linear) or is_transposed_linear(module) or (
        isinstance(module, nn.Conv2d) and module.groups == 1 and not isinstance(module.padding, str)
        and module.padding_mode == "zeros"
    )  # fmt: skip
    if not plain or "weight" not in selected:
        raise InputError(
            expected="weights of linear layers, or of 2-d convolutions in one group",
            got=f"{', '.join(sorted(prefix + part for part in selected))} of {type(module).__name__}",
            hint=_OTHERS,
        )
    everything = model.named_parameters(remove_duplicate=False)
    if sum(parameter is module.get_parameter("weight") for _, parameter in everything) > 1:
        raise InputError(
            expected="layers that share no weights", got=f"{name}, tied to another layer",
            hint=f"Factors of one layer do not describe a shared weight. {_OTHERS}",
        )  # fmt: skip
    columns = space.columns([f"{prefix}weight"]).view(len(module.get_parameter("weight")), -1)
    columns = columns.T if is_transposed_linear(module) else columns
    if "bias" in selected:
        columns = torch.cat([columns, space.columns([f"{prefix}bias"])[:, None]], dim=1)
    return _Layer(name, module, columns, "bias" in selected)
