"""Losses of blocks of data as a function of the selected parameters: the one thing every risk is made of."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from landscope.errors import InputError
from landscope.risk.data import Block, blocks_of, call_model, can_join, read_once
from landscope.risk.losses import SampleLosses
from landscope.risk.tracing import SplitModel, substituted_call
from landscope.threads import one_thread

__all__ = [
    "BlockLosses",
    "BlockOutputs",
    "ClosureLosses",
    "ClosureModule",
    "Frontier",
    "TracedLosses",
    "WholeLosses",
    "replica",
    "whole_evaluation",
]

M = TypeVar("M", bound=nn.Module)


@runtime_checkable
class BlockLosses(Protocol):
    """The losses of the samples of one block, differentiable in the parameters."""

    n_blocks: int

    def losses(self, parameters: dict[str, Tensor], block: int) -> tuple[Tensor, Tensor | float]:
        """``parameters, block -> (losses[m], weight)``."""
        ...

    def picked(self, parameters: dict[str, Tensor], rows: Tensor) -> Tensor:
        """``parameters, rows[n] -> losses[n]`` of single samples, numbered in the order of the data; in any order."""
        ...

    def in_data_order(self, values: Tensor) -> Tensor:
        """``values[..., M]`` of all samples, block after block -> the same in the order of the data."""
        ...

    def in_block_order(self, values: Tensor) -> Tensor:
        """``values[M]`` of all samples in the order of the data -> the same, block after block."""
        ...


@runtime_checkable
class BlockOutputs(Protocol):
    """What a model answers for the samples of one block, where that is known apart from the losses."""

    def pairs(self) -> list[Block]:
        """Inputs and targets of each block."""
        ...

    @property
    def sizes(self) -> list[int]:
        """Samples of each block."""
        ...

    def arguments(self, block: int) -> tuple[Any, ...]:
        """What :meth:`outputs` is to be given for a block: frozen values, or the inputs."""
        ...

    def outputs(self, parameters: dict[str, Tensor], arguments: tuple[Any, ...]) -> Any:
        """``parameters, arguments -> outputs`` of the model."""
        ...

    def losses_of(self, outputs: Any, block: int) -> tuple[Tensor, Tensor | float]:
        """``outputs, block -> (losses[m], weight)``."""
        ...


def whole_evaluation(sample_losses: SampleLosses) -> Callable[[nn.Module, Block], Tensor | tuple[Tensor, Any]]:
    """The losses of a batch by the whole model: of every sample where there is one each, else their sum and weight."""

    def batch_losses(model: nn.Module, batch: Block) -> Tensor | tuple[Tensor, Tensor | float]:
        losses, weight = sample_losses(call_model(model, batch[0]), batch[1])
        if isinstance(weight, float) and weight == len(losses):
            return losses
        return losses.double().sum(), weight

    return batch_losses


class ClosureModule(nn.Module):
    """Makes ``batch_losses(model, batch)`` a module, so that its parameters can be replaced for one call."""

    def __init__(self, model: nn.Module, batch_losses: Callable[[nn.Module, Any], Any]) -> None:
        super().__init__()
        self.model = model
        self._batch_losses = batch_losses

    def forward(self, batch: Any) -> Any:
        """The losses of one batch."""
        return self._batch_losses(self.model, batch)


class ClosureLosses:
    """Full evaluation of ``batch_losses(model, batch)``, whatever the model and the batch are."""

    def __init__(self, model: nn.Module, batch_losses: Callable[[nn.Module, Any], Any], batches: Iterable[Any]) -> None:
        self._module = ClosureModule(model, batch_losses)
        self._batches = copy.deepcopy(read_once(batches))
        self.n_blocks = len(self._batches)
        self._sizes: list[int] = []
        if self.n_blocks == 0:
            raise InputError(expected="at least one batch", got="no data", hint="Check the loader.")

    def losses(self, parameters: dict[str, Tensor], block: int) -> tuple[Tensor, Tensor | float]:
        """The losses of one batch with the selected parameters replaced."""
        replaced = {f"model.{name}": value for name, value in parameters.items()}
        batch = copy.deepcopy(self._batches[block])  # a model may work in place
        answer = torch.func.functional_call(self._module, replaced, (batch,))
        if isinstance(answer, Tensor) and answer.ndim >= 1:
            return answer.flatten(), float(answer.numel())
        if isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], Tensor):
            return answer[0].sum().reshape(1), answer[1]
        raise InputError(
            expected="batch_losses to return the loss of each sample, or (sum, count)",
            got=f"a scalar {answer.dtype}" if isinstance(answer, Tensor) else type(answer).__name__,
            hint="Return reduction='none' losses, or (losses.sum(), len(losses)).",
        )

    def picked(self, parameters: dict[str, Tensor], rows: Tensor) -> Tensor:
        """The losses of some samples, from every batch that holds one of them."""
        if not self._sizes:
            with torch.no_grad():
                self._sizes = [len(self.losses(parameters, block)[0]) for block in range(self.n_blocks)]
        return torch.cat([self.losses(parameters, block)[0][places] for block, places in _homes(self._sizes, rows)])

    def in_data_order(self, values: Tensor) -> Tensor:
        """They are: batches stay as they come."""
        return values

    def in_block_order(self, values: Tensor) -> Tensor:
        """Likewise."""
        return values


class WholeLosses(ClosureLosses):
    """Full evaluation of a model and a criterion.

    Args:
        model: A private copy in eval mode.
        sample_losses: The criterion.
        blocks: The data.
    """

    def __init__(self, model: nn.Module, sample_losses: SampleLosses, blocks: Sequence[Block]) -> None:
        super().__init__(model, whole_evaluation(sample_losses), blocks)
        self._answers, self._sample_losses = ClosureModule(model, call_model), sample_losses

    def pairs(self) -> list[Block]:
        """Inputs and targets of each block."""
        return copy.deepcopy(self._batches)

    @property
    def sizes(self) -> list[int]:
        """Samples of each block."""
        return [len(targets) for _, targets in self._batches]

    def arguments(self, block: int) -> tuple[Any, ...]:
        """The inputs."""
        return (copy.deepcopy(self._batches[block][0]),)

    def outputs(self, parameters: dict[str, Tensor], arguments: tuple[Any, ...]) -> Any:
        """The whole model."""
        replaced = {f"model.{name}": value for name, value in parameters.items()}
        return torch.func.functional_call(self._answers, replaced, arguments)

    def losses_of(self, outputs: Any, block: int) -> tuple[Tensor, Tensor | float]:
        """The criterion."""
        return self._sample_losses(outputs, self._batches[block][1])


def _homes(sizes: Sequence[int], rows: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The blocks that hold some of the samples ``rows``, each with their places in it."""
    ends = torch.tensor(list(itertools.accumulate(sizes)), device=rows.device)
    home = torch.searchsorted(ends, rows, right=True)
    for block in home.unique().tolist():
        yield block, rows[home == block] - (ends[block] - sizes[block])


class Frontier:
    """Frontier values of every block, computed once and kept as far as the memory limit allows."""

    def __init__(self, split: SplitModel, blocks: list[Block], cache_bytes: int) -> None:
        self._split, self._blocks = split, blocks
        self._kept: dict[int, tuple[Any, ...]] = {}
        self.cache_bytes = self._bytes_left = cache_bytes

    def __call__(self, block: int) -> tuple[Any, ...]:
        """The frontier values of one block."""
        if block in self._kept:
            return self._kept[block]
        inputs = self._blocks[block][0]
        if self._split.prefix_is_empty:
            return (inputs,)
        with torch.no_grad(), one_thread():  # the bits must not depend on who asks first
            # A copy of the inputs, as a model may work in place; and of small views of large tensors.
            values = tuple(_compact(value) for value in self._split.prefix(copy.deepcopy(inputs)))
        size = sum(value.nbytes for value in values if isinstance(value, Tensor))
        if size <= self._bytes_left:
            self._bytes_left -= size
            self._kept[block] = values
        return values


def _compact(value: Any) -> Any:
    small = isinstance(value, Tensor) and value.untyped_storage().nbytes() > value.nbytes
    return value.clone() if small else value


class TracedLosses:
    """Evaluation from the frontier on, for a model that could be cut by tracing.

    Args:
        split: The model, cut.
        sample_losses: The criterion.
        blocks: The data.
        cache_bytes: Memory for frontier values.
        order: Number in the data of each sample, block after block; the same order by default.
    """

    def __init__(
        self,
        split: SplitModel,
        sample_losses: SampleLosses,
        blocks: list[Block],
        cache_bytes: int,
        order: Tensor | None = None,
    ) -> None:
        self.split, self.sample_losses, self.blocks = split, sample_losses, blocks
        self.frontier = Frontier(split, blocks, cache_bytes)
        self.n_blocks = len(blocks)
        self._places = None if order is None else torch.argsort(order)

    def losses(self, parameters: dict[str, Tensor], block: int) -> tuple[Tensor, Tensor | float]:
        """The losses of one block with the selected parameters replaced."""
        return self.losses_of(self.outputs(parameters, self.frontier(block)), block)

    def arguments(self, block: int) -> tuple[Any, ...]:
        """Frontier values."""
        return self.frontier(block)

    def outputs(self, parameters: dict[str, Tensor], arguments: tuple[Any, ...]) -> Any:
        """The model from its frontier on."""
        return substituted_call(self.split.suffix, self.split.suffix_names, parameters, arguments)

    def losses_of(self, outputs: Any, block: int) -> tuple[Tensor, Tensor | float]:
        """The criterion."""
        return self.sample_losses(outputs, self.blocks[block][1])

    def pairs(self) -> list[Block]:
        """Inputs and targets of each block."""
        return copy.deepcopy(self.blocks)

    @property
    def sizes(self) -> list[int]:
        """Samples of each block."""
        return [len(targets) for _, targets in self.blocks]

    @property
    def n_samples(self) -> int:
        """Samples in all blocks."""
        return sum(self.sizes)

    def in_data_order(self, values: Tensor) -> Tensor:
        """``values[..., M]`` of all samples, block after block -> the same in the order of the data."""
        return values if self._places is None else values[..., self._places.to(values.device)]

    def in_block_order(self, values: Tensor) -> Tensor:
        """``values[M]`` of all samples in the order of the data -> the same, block after block."""
        return values if self._places is None else values[torch.argsort(self._places).to(values.device)]

    def picked(self, parameters: dict[str, Tensor], rows: Tensor) -> Tensor:
        """The losses of some samples, block after block."""
        picked = list(_homes(self.sizes, rows if self._places is None else self._places[rows]))
        if not can_join([self.blocks[block] for block, _ in picked]):
            return torch.cat([self.losses(parameters, block)[0][places] for block, places in picked])
        inputs, targets = self._samples(picked)
        with torch.no_grad():
            values = (inputs,) if self.split.prefix_is_empty else self.split.prefix(inputs)
        return self.sample_losses(self.outputs(parameters, values), targets)[0]

    def _samples(self, picked: list[tuple[int, Tensor]]) -> Block:
        """Inputs and targets of some samples of each of some blocks."""
        inputs, targets = (torch.cat([self.blocks[b][part][places] for b, places in picked]) for part in (0, 1))
        return inputs, targets

    @torch.no_grad()
    def hardest(
        self, parameters: dict[str, Tensor], *, enough: float, least: float, at_most: float
    ) -> TracedLosses | None:
        """The samples of the largest losses, until they carry the share ``enough`` of the loss.

        Returns:
            The same losses of those samples only, or of the part ``at_most`` of all samples where that carries at
            ``least`` this share; None where it does not, or where there is not one loss a sample.
        """
        with one_thread():  # which samples they are must not depend on threads
            parts = [self.losses(parameters, block)[0].double().cpu() for block in range(self.n_blocks)]
            losses = torch.cat(parts)
        if [len(part) for part in parts] != self.sizes or not can_join(self.blocks) or not bool((losses >= 0).all()):
            return None
        falling = torch.sort(losses, descending=True, stable=True)
        carried = torch.cumsum(falling.values, dim=0)
        carried /= carried[-1].clone()
        count = min(int((carried < enough).sum()) + 1, int(at_most * len(losses)))
        if count == 0 or not float(carried[count - 1]) >= least:
            return None
        samples = self._samples(list(_homes(self.sizes, falling.indices[:count].to(self.blocks[0][1].device))))
        blocks = blocks_of([samples], max(self.sizes))
        return TracedLosses(self.split, self.sample_losses, blocks, self.frontier.cache_bytes // 4)


def replica(module: M) -> M:
    """A second module object on the same tensors, so that two threads can replace parameters at once."""
    shared = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(tensor): tensor for tensor in shared})
