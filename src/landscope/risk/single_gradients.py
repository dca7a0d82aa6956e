"""Gradients of single samples for slopes along their outputs: all at once, one after another, or row by row."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from landscope.attention import plain_kernels
from landscope.risk.layer_terms import GRADIENT_NUMBERS
from landscope.risk.outputs import CriterionOutputs, OutputSource
from landscope.risk.sample_axes import SampleAxes, probed

__all__ = ["WAYS", "SingleGradients", "Way"]

Gradients = dict[str, Tensor]
"""Gradients of some samples by parameter, ``[b, ...]``."""


@dataclasses.dataclass(frozen=True)
class SingleGradients:
    r"""The gradients :math:`J_k' s_k` of single samples of one block, for slopes s_k along their outputs.

    Args:
        source: Outputs of the model.
        parameters: Selected weights by name.
        block: The block.
        axes: Axes of the samples in its outputs.
        names: Parameters to differentiate by.
    """

    source: OutputSource
    parameters: dict[str, Tensor]
    block: int
    axes: SampleAxes
    names: Sequence[str]

    def all_at_once(self, slopes: Sequence[Tensor], rows: Sequence[int]) -> Iterator[Gradients]:
        """Each sample as a batch of one, many of them at once."""
        free = self._free
        once = max(1, GRADIENT_NUMBERS // sum(tensor.numel() for tensor in free.values()))
        for first in range(0, len(rows), once):
            part = rows[first : first + once]
            stacked = self._stacked(part)
            in_dims = tree_map(lambda x: 0 if isinstance(x, Tensor) else None, stacked)
            pulled = functools.partial(self._pulled, free)
            # A traced module prints where it fails; torch says which operations it takes one sample after another.
            with plain_kernels(), contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="There is a performance drop")
                found = torch.func.vmap(pulled, in_dims=(0, in_dims))([slope[part] for slope in slopes], stacked)
            yield found

    def one_after_another(self, slopes: Sequence[Tensor], rows: Sequence[int]) -> Iterator[Gradients]:
        """Each sample as a batch of one."""
        for row in rows:
            with contextlib.redirect_stderr(io.StringIO()):
                found = self._pulled(self._free, [slope[row] for slope in slopes], self._alone(row))
            yield {name: gradient[None] for name, gradient in found.items()}

    def row_by_row(self, slopes: Sequence[Tensor], rows: Sequence[int]) -> Iterator[Gradients]:
        """One backward pass of the whole block for each sample whose slopes are not all zero."""
        free = {name: tensor.detach().clone().requires_grad_() for name, tensor in self._free.items()}
        with torch.enable_grad():
            tensors = self.axes.first(self.source.outputs(self.parameters | free, self.block).tensors)
            for row in rows:
                both = zip(tensors, slopes, strict=True)
                # No output depends on the weights of a head that this task does not use.
                own = [(out[row], slope[row].to(out)) for out, slope in both if out.requires_grad]
                if any(bool(slope.any()) for _, slope in own):
                    found = torch.autograd.grad(
                        [out for out, _ in own], list(free.values()), [slope for _, slope in own],
                        retain_graph=True, materialize_grads=True,
                    )  # fmt: skip
                else:
                    found = [torch.zeros_like(tensor) for tensor in free.values()]
                yield {name: gradient[None] for name, gradient in zip(free, found, strict=True)}

    @property
    def _free(self) -> dict[str, Tensor]:
        return {name: self.parameters[name].detach() for name in self.names}

    def _pulled(self, free: dict[str, Tensor], slopes: Sequence[Tensor], arguments: tuple[Any, ...]) -> Gradients:
        source = self._criterion

        def outputs(some: dict[str, Tensor]) -> list[Tensor]:
            return [view[0] for view in self.axes.first(source.tensors(self.parameters | some, arguments), n=1)]

        return torch.func.vjp(outputs, free)[1](list(slopes))[0]

    @property
    def _criterion(self) -> CriterionOutputs:
        if not isinstance(self.source, CriterionOutputs) or self.axes.n not in self.source.counts(self.block):
            raise TypeError("a batch of one sample cannot be made")
        return self.source

    def _alone(self, row: int) -> tuple[Any, ...]:
        """The arguments of the model for one sample."""
        return self._criterion.some_arguments(self.block, self.axes.n, torch.tensor([row]))

    def _stacked(self, rows: Sequence[int]) -> Any:
        """The arguments of some samples, each as a batch of one, on a new first axis."""
        if (whole := self._whole) is not None:
            return tree_map(lambda x: x[rows].unsqueeze(1) if isinstance(x, Tensor) else x, whole)
        return tree_map(lambda *parts: torch.stack(parts) if isinstance(parts[0], Tensor) else parts[0],
                        *map(self._alone, rows))  # fmt: skip

    @functools.cached_property
    def _whole(self) -> tuple[Any, ...] | None:
        """The arguments for the whole block, if its rows are the arguments for single samples."""
        whole = self._criterion.blocks.plain_arguments(self.block)
        leaves, spec = tree_flatten(whole)
        for row in probed(self.axes.n):
            own, own_spec = tree_flatten(self._alone(row))
            if spec != own_spec or not all(map(functools.partial(_is_row, row, self.axes.n), leaves, own)):
                return None
        return whole


def _is_row(row: int, n: int, whole: Any, own: Any) -> bool:
    if not isinstance(whole, Tensor):
        return isinstance(whole, bool | int | float | str | None) and whole == own
    if whole.ndim == 0 or len(whole) != n or own.shape != (1, *whole.shape[1:]):
        return False
    if not whole.is_floating_point():
        return torch.equal(whole[row], own[0])
    accuracy = min(0.05, 1e3 * torch.finfo(whole.dtype).eps)
    return torch.allclose(
        whole[row], own[0], rtol=accuracy, atol=accuracy * float(own.abs().max()) if own.numel() else 0
    )


Way = Callable[[SingleGradients, Sequence[Tensor], Sequence[int]], Iterator[Gradients]]

WAYS: tuple[Way, ...] = (SingleGradients.all_at_once, SingleGradients.one_after_another, SingleGradients.row_by_row)
"""All ways to the gradients of single samples, the fastest first; the last one works for every model."""
