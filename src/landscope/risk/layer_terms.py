"""Sums over samples of powers of their gradients, from the inputs of a layer and the slopes at its outputs."""

from __future__ import annotations

import abc
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscope._checks import device_with_float64, for_float64

__all__ = [
    "GRADIENT_NUMBERS",
    "LayerTerm",
    "OtherAxisError",
    "gives_weight_gradients",
    "is_transposed_linear",
    "layer_term",
    "powered",
    "sum_of_powers",
]

GRADIENT_NUMBERS = 2**22
"""Numbers of single-sample gradients held at once: 16 MB in float32."""


_LARGE = 2**12
"""Numbers of the gradient of one sample from which on samples are added one after another."""


class OtherAxisError(Exception):
    """A layer was called with another first axis than that of the samples."""


def powered(values: Tensor, power: int) -> Tensor:
    """Absolute values, or squares."""
    return values.abs() if power == 1 else values.square()


def sum_of_powers(gradients: Tensor, power: int, weights: Tensor | None) -> Tensor:
    """The weighted sum over samples of the powers of their gradients ``[b, ...]``, in float64."""
    if gradients.device.type == "cpu" and gradients[:1].numel() >= _LARGE:
        # Sample by sample in the processor cache: to convert all of them at once takes ten times as long.
        total = torch.zeros(gradients.shape[1:], dtype=torch.float64)
        factors = [1.0] * len(gradients) if weights is None else weights.tolist()
        for gradient, factor in zip(gradients, factors, strict=True):
            total.add_(powered(gradient, power), alpha=factor)
        return total
    values = for_float64(powered(gradients, power))
    if weights is not None:
        values = values.double() * _by_sample(weights.to(values), values)
    return values.sum(dim=0, dtype=torch.float64)


class LayerTerm(abc.ABC):
    r"""One layer with all its calls for a block of samples.

    It sums :math:`\sum_k c_k |\nabla_k|^p` over samples, where :math:`\nabla_k` is the gradient of the parameters of
    the layer by sample k: over all positions and all calls of the layer, before the power is taken.

    Args:
        module: The layer.
        inputs: Its input at each call, samples first.
        names: Names of its selected parameters.
        power: 1 or 2.
    """

    def __init__(self, module: nn.Module, inputs: Sequence[Tensor], names: Sequence[str], power: int) -> None:
        self.module, self.power = module, power
        device = device_with_float64(inputs[0].device)
        self.sums = {
            name: torch.zeros(module.get_parameter(name).shape, dtype=torch.float64, device=device) for name in names
        }

    @abc.abstractmethod
    def add(self, slopes: Sequence[Tensor], weights: Tensor | None) -> None:
        """Add the samples for slopes at the output of each call, with a factor c_k of each sample."""

    def finish(self) -> dict[str, Tensor]:
        """The sums, by the names of the parameters in the layer."""
        return self.sums

    def weight_gradients(self, slopes: Sequence[Tensor], rows: slice) -> Tensor:
        """The gradients ``[b, ...]`` of the weight by some samples, for their slopes at each call of the layer."""
        raise NotImplementedError(type(self).__name__)

    def _add(self, name: str, gradients: Tensor, weights: Tensor | None) -> None:
        """Add gradients ``[b, ...]`` of single samples."""
        if name in self.sums:
            self.sums[name] += sum_of_powers(gradients, self.power, weights).view_as(self.sums[name])


def _by_sample(weights: Tensor, values: Tensor) -> Tensor:
    return weights.view(-1, *[1] * (values.ndim - 1))


class _Bilinear(LayerTerm):
    r"""A layer whose weight meets an input and a slope at each position t: :math:`\nabla_k = \sum_t g_{kt} a_{kt}'`.

    With one position the sum over samples is a product of two matrices, as :math:`|g a|^p = |g|^p |a|^p`.
    """

    def __init__(self, module: nn.Module, inputs: Sequence[Tensor], names: Sequence[str], power: int) -> None:
        super().__init__(module, inputs, names, power)
        self._inputs = _joined([self._input_rows(x) for x in inputs])
        self._single: Tensor | None = None  # |g|^p of single positions, summed over slopes

    @abc.abstractmethod
    def _input_rows(self, x: Tensor) -> Tensor:
        """``[b, groups, t, n]``."""

    @abc.abstractmethod
    def _slope_rows(self, x: Tensor) -> Tensor:
        """``[b, groups, t, m]``."""

    def add(self, slopes: Sequence[Tensor], weights: Tensor | None) -> None:
        """Add the samples; with one position, the inputs are multiplied at the end."""
        g = _joined([self._slope_rows(slope) for slope in slopes])
        self._add("bias", g.sum(dim=2), weights)
        if "weight" not in self.sums:
            return
        if g.shape[2] == 1:
            values = for_float64(powered(g[:, :, 0], self.power)).double()
            values = values if weights is None else values * _by_sample(weights.to(values), values)
            self._single = values if self._single is None else self._single + values
            return
        once = max(1, GRADIENT_NUMBERS // self.sums["weight"].numel())
        for first in range(0, len(g), once):
            part = slice(first, first + once)
            pairs = g[part].mT @ self._inputs[part]
            self._add("weight", self._as_weight(pairs), None if weights is None else weights[part])

    def finish(self) -> dict[str, Tensor]:
        """The sums, after the product of the matrices of single positions."""
        if self._single is not None:
            rows = for_float64(powered(self._inputs[:, :, 0], self.power)).double()
            pairs = self._single.permute(1, 2, 0) @ rows.transpose(0, 1)
            self.sums["weight"] += self._as_weight(pairs[None])[0]
            self._single = None
        return self.sums

    def weight_gradients(self, slopes: Sequence[Tensor], rows: slice) -> Tensor:
        """Products over all positions."""
        return self._as_weight(_joined([self._slope_rows(g) for g in slopes]).mT @ self._inputs[rows])

    def _as_weight(self, pairs: Tensor) -> Tensor:
        """``[b, groups, m, n]`` in the shape of the weight."""
        return pairs.reshape(len(pairs), *self.module.get_parameter("weight").shape)


def _joined(calls: Sequence[Tensor]) -> Tensor:
    """The positions of all calls of a layer."""
    return calls[0] if len(calls) == 1 else torch.cat(list(calls), dim=2)


class _Linear(_Bilinear):
    def _input_rows(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), 1, -1, x.shape[-1])

    _slope_rows = _input_rows


class _TransposedLinear(_Linear):
    """A linear layer that stores its weight as ``[inputs, outputs]``, as GPT-2 does."""

    def _as_weight(self, pairs: Tensor) -> Tensor:
        return pairs[:, 0].mT


class _Convolution(_Bilinear):
    """A convolution in one or two dimensions: every window that the kernel sees is a position."""

    module: nn.Conv1d | nn.Conv2d

    def _input_rows(self, x: Tensor) -> Tensor:
        module = self.module
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        x = F.pad(x, module._reversed_padding_repeated_twice, mode)
        kernel, stride, dilation = module.kernel_size, module.stride, module.dilation
        if isinstance(module, nn.Conv1d):
            x, kernel, stride, dilation = x[:, :, None], (1, *kernel), (1, *stride), (1, *dilation)
        windows = F.unfold(x, kernel, dilation=dilation, stride=stride)
        return windows.unflatten(1, (module.groups, -1)).mT

    def _slope_rows(self, x: Tensor) -> Tensor:
        return x.flatten(2).unflatten(1, (self.module.groups, -1)).mT


class _Embedding(LayerTerm):
    """Rows of a table; a row that a sample reads several times has one gradient."""

    module: nn.Embedding

    def __init__(self, module: nn.Module, inputs: Sequence[Tensor], names: Sequence[str], power: int) -> None:
        super().__init__(module, inputs, names, power)
        self._rows = torch.cat([ids.reshape(len(ids), -1) for ids in inputs], dim=1)
        samples = torch.arange(len(self._rows), device=self._rows.device)
        pairs = self._rows + self.module.num_embeddings * samples[:, None]
        self._read, self._places = pairs.flatten().unique(return_inverse=True)

    def add(self, slopes: Sequence[Tensor], weights: Tensor | None) -> None:
        """Add the slopes of equal rows of each sample, then the powers of all samples."""
        g = self._by_position(slopes).flatten(0, 1)
        table = self.sums["weight"]
        gradients = g.new_zeros(len(self._read), g.shape[-1]).index_add_(0, self._places, g)
        values = for_float64(powered(gradients, self.power)).double()
        if weights is not None:
            values = values * weights.to(values)[self._read.to(values.device) // len(table)][:, None]
        table.index_add_(0, (self._read % len(table)).to(table.device), values)

    @staticmethod
    def _by_position(slopes: Sequence[Tensor]) -> Tensor:
        return torch.cat([slope.reshape(len(slope), -1, slope.shape[-1]) for slope in slopes], dim=1)

    def weight_gradients(self, slopes: Sequence[Tensor], rows: slice) -> Tensor:
        """Slopes at the rows of the table that each sample reads; the row of padding has none."""
        g, read = self._by_position(slopes), self._rows[rows]
        gradients = g.new_zeros(len(g), *self.module.weight.shape)
        gradients.scatter_add_(1, read[..., None].expand_as(g), g)
        if self.module.padding_idx is not None:
            gradients[:, self.module.padding_idx] = 0
        return gradients

    def finish(self) -> dict[str, Tensor]:
        """The sums; the row of padding has no gradient."""
        if self.module.padding_idx is not None:
            self.sums["weight"][self.module.padding_idx] = 0
        return self.sums


class _Norm(LayerTerm):
    r"""A normalisation: :math:`\nabla_k = \sum_t g_{kt} \hat x_{kt}`, entry by entry."""

    def __init__(self, module: nn.Module, inputs: Sequence[Tensor], names: Sequence[str], power: int) -> None:
        super().__init__(module, inputs, names, power)
        self._normed = [self._without_parameters(x) for x in inputs]

    def add(self, slopes: Sequence[Tensor], weights: Tensor | None) -> None:
        """Add the samples."""
        self._add("bias", sum(self._summed(g) for g in slopes), weights)  # ty: ignore[invalid-argument-type]
        gradients = sum(self._summed(g * x) for g, x in zip(slopes, self._normed, strict=True))
        self._add("weight", gradients, weights)  # ty: ignore[invalid-argument-type]

    def _summed(self, values: Tensor) -> Tensor:
        """The sum over positions: all axes but the samples and those of the weight."""
        if isinstance(self.module, nn.LayerNorm | nn.RMSNorm):
            return values.reshape(len(values), -1, *self.module.normalized_shape).sum(dim=1)
        return values.flatten(2).sum(dim=2) if values.ndim > 2 else values

    def _without_parameters(self, x: Tensor) -> Tensor:
        module = self.module
        if isinstance(module, nn.LayerNorm):
            return F.layer_norm(x, module.normalized_shape, eps=module.eps)
        if isinstance(module, nn.RMSNorm):
            return F.rms_norm(x, module.normalized_shape, eps=module.eps)
        if isinstance(module, nn.GroupNorm):
            return F.group_norm(x, module.num_groups, eps=module.eps)
        assert isinstance(module, nn.modules.batchnorm._BatchNorm)  # noqa: S101 - the last of the kinds
        return F.batch_norm(x, module.running_mean, module.running_var, eps=module.eps)


_KINDS: dict[type[nn.Module], type[LayerTerm]] = {
    nn.Linear: _Linear,
    nn.Conv1d: _Convolution,
    nn.Conv2d: _Convolution,
    nn.LayerNorm: _Norm,
    nn.RMSNorm: _Norm,
    nn.GroupNorm: _Norm,
    nn.BatchNorm1d: _Norm,
    nn.BatchNorm2d: _Norm,
    nn.BatchNorm3d: _Norm,
}


def is_transposed_linear(module: nn.Module) -> bool:
    """Whether a layer is the linear layer of transformers that stores its weight as ``[inputs, outputs]``."""
    return type(module).__name__ == "Conv1D" and type(module).__module__.startswith("transformers.")


def layer_term(module: nn.Module) -> type[LayerTerm] | None:
    """The kind of a layer, or None where there is no closed form for it."""
    if type(module) is nn.Embedding:
        plain = module.max_norm is None and not module.scale_grad_by_freq and not module.sparse
        return _Embedding if plain else None
    if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.running_mean is None or module.training):
        return None
    if is_transposed_linear(module):
        return _TransposedLinear
    return _KINDS.get(type(module))


def gives_weight_gradients(module: nn.Module) -> bool:
    """Whether a weight may be shared with this layer: the gradients of its uses can be added, sample by sample."""
    kind = layer_term(module)
    return kind is not None and issubclass(kind, _Linear | _Embedding)
