"""Losses of blocks of data as a function of the selected parameters, which every risk uses."""

from __future__ import annotations

import abc
import collections
import contextlib
import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from landscope._checks import for_float64
from landscope.errors import InputError
from landscope.parameters import ParameterSpace
from landscope.risk.checkpointing import no_checkpointing
from landscope.risk.data import Block, call_model, can_join, cut_blocks, moved, read_batches
from landscope.risk.losses import SampleLosses
from landscope.risk.model_copy import detached_copy
from landscope.risk.module_cut import Calls, NothingToSkipError, OtherCallsError, replayed
from landscope.risk.stored_calls import StoredCalls, check_equal, mean_loss, points_around
from landscope.risk.tracing import SplitModel, substituted_call
from landscope.threads import one_thread

__all__ = [
    "BlockLosses",
    "BlockOutputs",
    "ClosureLosses",
    "ClosureModule",
    "PrefixCache",
    "TracedLosses",
    "WholeLosses",
    "replica",
    "whole_evaluation",
]

M = TypeVar("M", bound=nn.Module)


class BlockLosses(abc.ABC):
    """The losses of the samples of each block of data, differentiable in the selected parameters."""

    n_blocks: int

    @abc.abstractmethod
    def losses(self, parameters: dict[str, Tensor], block: int) -> tuple[Tensor, Tensor | float]:
        """``parameters, block -> (losses[m], weight)``."""

    @abc.abstractmethod
    def picked(self, parameters: dict[str, Tensor], rows: Tensor) -> Tensor:
        """``parameters, rows[n] -> losses[n]`` of the samples with these indices in the data, in any order."""

    def in_data_order(self, values: Tensor) -> Tensor:
        """Reorder ``values[..., M]`` of all samples from the order of the blocks to the order of the data."""
        return values

    def in_block_order(self, values: Tensor) -> Tensor:
        """Reorder ``values[M]`` of all samples from the order of the data to the order of the blocks."""
        return values


class BlockOutputs(BlockLosses):
    """Losses by a criterion, with the outputs of the model known apart from them."""

    blocks: list[Block]
    sample_losses: SampleLosses

    @abc.abstractmethod
    def arguments(self, block: int) -> tuple[Any, ...]:
        """The arguments of :meth:`outputs` for a block: prefix outputs, or the inputs."""

    @abc.abstractmethod
    def outputs(self, parameters: dict[str, Tensor], arguments: tuple[Any, ...]) -> Any:
        """``parameters, arguments -> outputs`` of the model."""

    def losses_of(self, outputs: Any, block: int) -> tuple[Tensor, Tensor | float]:
        """``outputs, block -> (losses[m], weight)``."""
        return self.sample_losses(outputs, self.blocks[block][1])

    def pairs(self) -> list[Block]:
        """Copies of the inputs and targets of each block."""
        return copy.deepcopy(self.blocks)

    @property
    def sizes(self) -> list[int]:
        """Number of samples in each block."""
        return [len(targets) for _, targets in self.blocks]


def whole_evaluation(sample_losses: SampleLosses) -> Callable[[nn.Module, Block], Tensor | tuple[Tensor, Any]]:
    """A function for the losses of a batch by the whole model: one for each sample, or their sum and weight."""

    def batch_losses(model: nn.Module, batch: Block) -> Tensor | tuple[Tensor, Tensor | float]:
        losses, weight = sample_losses(call_model(model, batch[0]), batch[1])
        if isinstance(weight, float) and weight == len(losses):
            return losses
        return for_float64(losses).double().sum(), weight

    return batch_losses


class ClosureModule(nn.Module):
    """``batch_losses(model, batch)`` as a module, so that one call can replace its parameters."""

    def __init__(self, model: nn.Module, batch_losses: Callable[[nn.Module, Any], Any]) -> None:
        super().__init__()
        self.model = model
        self._batch_losses = batch_losses
        names = collections.defaultdict(list)
        for name, parameter in model.named_parameters(remove_duplicate=False):
            names[id(parameter)].append(f"model.{name}")
        self._all_names = {name: alike for alike in names.values() for name in alike}
        """The names of each parameter, which has several if it is tied."""

    def forward(self, batch: Any) -> Any:
        """The losses of one batch."""
        return self._batch_losses(self.model, batch)

    def with_parameters(self, parameters: dict[str, Tensor], batch: Any) -> Any:
        """The losses of one batch with some parameters of the model replaced."""
        replaced = {alias: value for name, value in parameters.items() for alias in self._all_names[f"model.{name}"]}
        with no_checkpointing():  # to search the model for tied weights in every call would be slow
            return torch.func.functional_call(self, replaced, (batch,), tie_weights=False)


class ClosureLosses(BlockLosses):
    """Full evaluation of ``batch_losses(model, batch)``, for any model and any batch."""

    stored: StoredCalls | None = None
    """The calls of modules that can be skipped, if this was found to change no loss."""

    def __init__(self, model: nn.Module, batch_losses: Callable[[nn.Module, Any], Any], batches: Iterable[Any]) -> None:
        self._module = ClosureModule(model, batch_losses)
        device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
        self.blocks = [moved(batch, device) for batch in copy.deepcopy(read_batches(batches))]
        self.n_blocks = len(self.blocks)
        self._counts: list[int] = []
        if self.n_blocks == 0:
            raise InputError(expected="at least one batch", got="no data", hint="Check the loader.")

    def losses(self, parameters: dict[str, Tensor], block: int) -> tuple[Tensor, Tensor | float]:
        """The losses of one batch with the selected parameters replaced."""
        # A model may change its input in place.
        batch = lambda: copy.deepcopy(self.blocks[block])  # noqa: E731
        losses = _call(self._module, parameters, batch, self._stored_calls(block))
        if isinstance(losses, Tensor) and losses.ndim >= 1:
            return losses.flatten(), float(losses.numel())
        if isinstance(losses, tuple) and len(losses) == 2 and isinstance(losses[0], Tensor):
            return losses[0].sum().reshape(1), losses[1]
        raise InputError(
            expected="a function that returns the loss of each sample, or (sum, count) with the sum as a tensor",
            got=_returned(losses),
            hint="Return reduction='none' losses, or (losses.sum(), len(losses)), without .item().",
        )

    @torch.no_grad()
    def store_calls(self, space: ParameterSpace, w0: Tensor, cache_bytes: int) -> str:
        """Skip calls of modules that the selected weights do not change, unless this changes the loss.

        Returns:
            The reason in words, if no call can be skipped.
        """
        elsewhere = space.unflatten(points_around(space, w0)[1][2])
        stored = StoredCalls(self._module, self.blocks, space, w0, cache_bytes)
        try:
            stored.record(0)
            with torch.random.fork_rng(devices=[]):
                expected = mean_loss(*self.losses(elsewhere, 0))
                self.stored = stored
                check_equal(mean_loss(*self.losses(elsewhere, 0)), expected, w0.dtype)
        except NothingToSkipError as reason:
            self.stored = None
            return str(reason)
        except Exception:  # noqa: BLE001 - a model may fail in any manner; full evaluation remains, or tells why
            self.stored = None
            return "its layers change other values than their results"
        return ""

    def _stored_calls(self, block: int) -> Calls | None:
        return None if self.stored is None else self.stored(block)

    def picked(self, parameters: dict[str, Tensor], rows: Tensor) -> Tensor:
        """The losses of some samples, from every batch that contains one of them."""
        if not self._counts:
            with torch.no_grad():
                self._counts = [len(self.losses(parameters, block)[0]) for block in range(self.n_blocks)]
        return torch.cat(
            [self.losses(parameters, block)[0][places] for block, places in _places_by_block(self._counts, rows)]
        )


def _call(module: ClosureModule, parameters: dict[str, Tensor], batch: Callable[[], Any], calls: Calls | None) -> Any:
    """Call a module with some parameters replaced, and with the results of stored calls."""
    if calls is not None:
        with contextlib.suppress(OtherCallsError):  # then execute all calls
            return replayed(module, calls, lambda: module.with_parameters(parameters, batch()))
    return module.with_parameters(parameters, batch())


class WholeLosses(ClosureLosses, BlockOutputs):
    """Full evaluation of a model in eval mode and a criterion."""

    def __init__(self, model: nn.Module, sample_losses: SampleLosses, blocks: Sequence[Block]) -> None:
        super().__init__(model, whole_evaluation(sample_losses), blocks)
        self._model_call, self.sample_losses = ClosureModule(model, call_model), sample_losses

    def arguments(self, block: int) -> tuple[Any, ...]:
        """The inputs of a block, and the calls of modules that are stored for it."""
        return copy.deepcopy(self.blocks[block][0]), self._stored_calls(block)

    def outputs(self, parameters: dict[str, Tensor], arguments: tuple[Any, ...]) -> Any:
        """The outputs of the whole model."""
        inputs, calls = arguments
        return _call(self._model_call, parameters, lambda: inputs, calls)


def _places_by_block(sizes: Sequence[int], rows: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield the blocks that contain some of the samples ``rows``, with the places of these samples in the block."""
    ends = torch.tensor(list(itertools.accumulate(sizes)), device=rows.device)
    block_of_row = torch.searchsorted(ends, rows, right=True)
    for block in block_of_row.unique().tolist():
        yield block, rows[block_of_row == block] - (ends[block] - sizes[block])


class PrefixCache:
    """The prefix outputs of every block, computed once and stored as far as the memory limit allows."""

    def __init__(self, split: SplitModel, blocks: list[Block], cache_bytes: int) -> None:
        self._split, self._blocks = split, blocks
        self._values: dict[int, tuple[Any, ...]] = {}
        self.cache_bytes = self._bytes_left = cache_bytes

    def __call__(self, block: int) -> tuple[Any, ...]:
        """The prefix outputs of one block."""
        if block in self._values:
            return self._values[block]
        inputs = self._blocks[block][0]
        if self._split.prefix_is_empty:
            return (inputs,)
        with torch.no_grad(), one_thread():  # the bits must not depend on the first caller
            # Copy the inputs, because a model may change them in place, and copy small views of large tensors.
            values = tuple(_compact(value) for value in self._split.prefix(copy.deepcopy(inputs)))
        size = sum(value.nbytes for value in values if isinstance(value, Tensor))
        if size <= self._bytes_left:
            self._bytes_left -= size
            self._values[block] = values
        return values


def _compact(value: Any) -> Any:
    is_small_view = isinstance(value, Tensor) and value.untyped_storage().nbytes() > value.nbytes
    return value.clone() if is_small_view else value


class TracedLosses(BlockOutputs):
    """Evaluation of a traced model from its prefix outputs on, which take at most ``cache_bytes`` of memory.

    ``order`` is the index in the data of each sample, block after block; by default the order of the data.
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
        self.prefix_outputs = PrefixCache(split, blocks, cache_bytes)
        self.n_blocks = len(blocks)
        self._places = None if order is None else torch.argsort(order)

    def losses(self, parameters: dict[str, Tensor], block: int) -> tuple[Tensor, Tensor | float]:
        """The losses of one block with the selected parameters replaced."""
        return self.losses_of(self.outputs(parameters, self.prefix_outputs(block)), block)

    def arguments(self, block: int) -> tuple[Any, ...]:
        """The prefix outputs of a block."""
        return self.prefix_outputs(block)

    def outputs(self, parameters: dict[str, Tensor], arguments: tuple[Any, ...]) -> Any:
        """The outputs of the model, from its prefix outputs."""
        return substituted_call(self.split.suffix, self.split.suffix_names, parameters, arguments)

    def in_data_order(self, values: Tensor) -> Tensor:
        """Reorder ``values[..., M]`` of all samples from the order of the blocks to the order of the data."""
        return values if self._places is None else values[..., self._places.to(values.device)]

    def in_block_order(self, values: Tensor) -> Tensor:
        """Reorder ``values[M]`` of all samples from the order of the data to the order of the blocks."""
        return values if self._places is None else values[torch.argsort(self._places).to(values.device)]

    def picked(self, parameters: dict[str, Tensor], rows: Tensor) -> Tensor:
        """The losses of some samples, block after block."""
        picked = list(_places_by_block(self.sizes, rows if self._places is None else self._places[rows]))
        if not can_join([self.blocks[block] for block, _ in picked]):
            return torch.cat([self.losses(parameters, block)[0][places] for block, places in picked])
        inputs, targets = self._samples(picked)
        with torch.no_grad():
            values = (inputs,) if self.split.prefix_is_empty else self.split.prefix(inputs)
        return self.sample_losses(self.outputs(parameters, values), targets)[0]

    def _samples(self, picked: Iterable[tuple[int, Tensor]]) -> Block:
        """Inputs and targets of some samples in each of some blocks."""
        parts = [[part[places] for part in self.blocks[block]] for block, places in picked]
        inputs, targets = (torch.cat(part) for part in zip(*parts, strict=True))
        return inputs, targets

    @torch.no_grad()
    def with_largest_losses(
        self, parameters: dict[str, Tensor], *, share: float, min_share: float, max_fraction: float
    ) -> TracedLosses | None:
        """Restrict the losses to those samples, with the largest losses at ``parameters``, that carry a ``share``.

        At most a ``max_fraction`` of the samples is taken; None if they carry less than ``min_share``, or the losses
        are not one for each sample.
        """
        with one_thread():  # the choice of samples must not depend on the number of threads
            parts = [for_float64(self.losses(parameters, block)[0]).double().cpu() for block in range(self.n_blocks)]
            losses = torch.cat(parts)
        if [len(part) for part in parts] != self.sizes or not can_join(self.blocks) or not bool((losses >= 0).all()):
            return None
        descending = torch.sort(losses, descending=True, stable=True)
        carried = torch.cumsum(descending.values, dim=0)
        carried /= carried[-1].clone()
        count = min(int((carried < share).sum()) + 1, int(max_fraction * len(losses)))
        if count == 0 or not float(carried[count - 1]) >= min_share:
            return None
        rows = descending.indices[:count].to(self.blocks[0][1].device)
        blocks = cut_blocks([self._samples(_places_by_block(self.sizes, rows))], max(self.sizes))
        return TracedLosses(self.split, self.sample_losses, blocks, self.prefix_outputs.cache_bytes // 4)


def replica(module: M) -> M:
    """A copy of a module that shares its tensors, so that two threads can replace parameters at the same time."""
    shared = [*module.parameters(), *module.buffers()]
    return detached_copy(module, {id(tensor): tensor for tensor in shared})


def _returned(losses: object) -> str:
    """What a function of a user returned, in words."""
    if isinstance(losses, Tensor):
        return f"a scalar {losses.dtype}"
    if isinstance(losses, tuple):
        return f"({', '.join(type(part).__name__ for part in losses)})"
    return type(losses).__name__
