"""Losses of blocks of data as a function of the selected parameters, which every risk uses."""

from __future__ import annotations

import abc
import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from landscope._checks import for_float64
from landscope.errors import InputError
from landscope.risk.conditions import Conditions, own_buffers
from landscope.risk.data import Block, call_model, can_join, cut_blocks, read_batches
from landscope.risk.graphs import GraphWhereNeeded
from landscope.risk.losses import SampleLosses
from landscope.risk.samples import Counted, count_of, counted_by, joined, moved, n_targets, rows_of
from landscope.risk.tracing import SplitModel, substituted_call
from landscope.risk.weighted_losses import WeightedLosses, added, loss_weights, read_losses, total_weight
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
    "samples_unknown",
    "whole_evaluation",
]

M = TypeVar("M", bound=nn.Module)


class BlockLosses(abc.ABC):
    """The losses of the samples of each block of data, differentiable in the selected parameters."""

    n_blocks: int
    blocks: list[Any]

    @abc.abstractmethod
    def losses(self, parameters: dict[str, Tensor], block: int) -> tuple[Tensor, Tensor | float]:
        """``parameters, block -> (losses[m], weight)``, see :class:`landscope.risk.weighted_losses.WeightedLosses`."""

    @abc.abstractmethod
    def picked(self, parameters: dict[str, Tensor], rows: Tensor) -> tuple[Tensor, float]:
        """``parameters, rows -> (losses, weight)`` of the samples with these indices in the data, in any order."""

    def count(self, block: int) -> int | None:
        """Number of samples in a block; None where the data do not say it."""
        return count_of(self.blocks[block])

    def in_data_order(self, values: Tensor) -> Tensor:
        """Reorder ``values[..., M]`` of all samples from the order of the blocks to the order of the data."""
        return values

    def in_block_order(self, values: Tensor) -> Tensor:
        """Reorder ``values[M]`` of all samples from the order of the data to the order of the blocks."""
        return values


class BlockOutputs(BlockLosses):
    """Losses by a criterion, with the outputs of the model known apart from them."""

    sample_losses: SampleLosses

    def count(self, block: int) -> int | None:
        """Number of targets in a block."""
        targets = self.blocks[block][1]
        return n_targets(targets) if isinstance(targets, Tensor | Counted) else super().count(block)

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
        """Number of samples in each block.

        Raises:
            InputError: If a block does not say it.
        """
        counts = [n_targets(targets) for _, targets in self.blocks]
        if None in counts:
            raise InputError(
                expected="batches whose samples can be counted",
                got="batches with parts of different lengths",
                hint="Return the loss of each sample, or pass count=f with f(batch) giving the number of samples.",
            )
        return [count for count in counts if count is not None]


def whole_evaluation(sample_losses: SampleLosses) -> Callable[[nn.Module, Block], WeightedLosses]:
    """A function for the losses of a batch by the whole model."""
    return lambda model, batch: WeightedLosses(*sample_losses(call_model(model, batch[0]), batch[1]))


class ClosureModule(nn.Module):
    """``batch_losses(model, batch)`` as a module, so that one call can replace its parameters."""

    def __init__(self, model: nn.Module, batch_losses: Callable[[nn.Module, Any], Any]) -> None:
        super().__init__()
        self.model = model
        self._batch_losses = batch_losses

    def forward(self, batch: Any) -> Any:
        """The losses of one batch."""
        return self._batch_losses(self.model, batch)

    def with_parameters(self, parameters: dict[str, Tensor], batch: Any) -> Any:
        """The losses of one batch with some parameters of the model replaced."""
        replaced = {f"model.{name}": value for name, value in parameters.items()}
        return torch.func.functional_call(self, replaced, (batch,))


class ClosureLosses(BlockLosses):
    """Full evaluation of ``batch_losses(model, batch)``, for any model and any batch."""

    def __init__(
        self,
        model: nn.Module,
        batch_losses: Callable[[nn.Module, Any], Any],
        batches: Iterable[Any],
        *,
        count: Callable[[Any], Any] | None = None,
        conditions: Conditions | None = None,
    ) -> None:
        self._module, self._conditions = ClosureModule(model, batch_losses), conditions
        self._evaluate = GraphWhereNeeded(self._returned)
        device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
        self.blocks = [moved(batch, device) for batch in copy.deepcopy(read_batches(batches))]
        self.n_blocks = len(self.blocks)
        self._counts: list[int] = []
        self._means_over = None if count is None else [counted_by(count, batch) for batch in self.blocks]
        self._can_cut: bool | None = None
        if self.n_blocks == 0:
            raise InputError(expected="at least one batch", got="no data", hint="Check the loader.")

    def losses(self, parameters: dict[str, Tensor], block: int) -> tuple[Tensor, Tensor | float]:
        """The losses of one batch with the selected parameters replaced."""
        return self._evaluated(parameters, self.blocks[block], block)

    @property
    def takes_derivatives(self) -> bool:
        """Whether the losses were found to take derivatives themselves."""
        return self._evaluate.is_needed

    def _evaluated(self, parameters: dict[str, Tensor], batch: Any, block: int) -> WeightedLosses:
        """The losses of a batch, or of a part of it, under the conditions of the batch with number ``block``."""
        returned = self._evaluate(parameters, batch, block)
        if self._means_over is not None and isinstance(returned, Tensor) and returned.ndim == 0:
            return WeightedLosses(returned.reshape(1) * self._means_over[block], float(self._means_over[block]))
        return read_losses(returned)

    def _returned(self, parameters: dict[str, Tensor], batch: Any, block: int) -> Any:
        batch = copy.deepcopy(batch)  # a model may change its input in place
        if self._conditions is None:
            return self._module.with_parameters(parameters, batch)
        with self._conditions.of_batch(self._module.model, block):
            return self._module.with_parameters({**own_buffers(self._module.model), **parameters}, batch)

    def _rows(self, block: int, places: Tensor) -> Any:
        """Some samples of a batch."""
        return rows_of(self.blocks[block], self._counts[block], places)

    def picked(self, parameters: dict[str, Tensor], rows: Tensor) -> tuple[Tensor, float]:
        """The losses of some samples, cut out of the batches; or from whole batches, where they cannot be cut."""
        self._look_at_batches(parameters)
        picked = list(_places_by_block(self._counts, rows))
        if not self._can_cut:
            return added([self._part(parameters, block, places) for block, places in picked])
        parts = [self._rows(block, places) for block, places in picked]
        together = joined_or_none(parts, [len(places) for _, places in picked])
        batches = parts if together is None else [together]
        return added([self._evaluated(parameters, part, picked[0][0]) for part in batches])

    def _part(self, parameters: dict[str, Tensor], block: int, places: Tensor) -> WeightedLosses:
        """The losses of some samples of a batch that is evaluated as a whole."""
        losses, weight = self.losses(parameters, block)
        weights = loss_weights(losses, weight)
        if weights is not None and len(losses) == self._counts[block]:
            return WeightedLosses(losses[places], weights[places.cpu()])
        if sorted(places.tolist()) == list(range(self._counts[block])):
            return WeightedLosses(losses, weight)
        raise samples_unknown("a batch whose loss is not the sum of the losses of its samples")

    @torch.no_grad()
    def _look_at_batches(self, parameters: dict[str, Tensor]) -> None:
        """Count the samples of each batch, and find out whether batches can be cut."""
        if self._can_cut is not None:
            return
        counts: list[int] = []
        for block in range(self.n_blocks):
            count = self.count(block)
            if count is None:
                losses = self.losses(parameters, block)
                if loss_weights(*losses) is None:
                    raise samples_unknown("one loss for a batch whose samples cannot be told apart")
                count = len(losses[0])
            counts.append(count)
        self._counts = counts
        known = [self.count(block) for block in range(self.n_blocks)] == counts
        self._can_cut = known and self._means_over is None and self._conditions_allow_cuts() and self._cuts(parameters)

    def _conditions_allow_cuts(self) -> bool:
        """Whether a sample sees the same random numbers whatever is in its batch."""
        return self._conditions is None or self._conditions.seed is None

    def _cuts(self, parameters: dict[str, Tensor]) -> bool:
        """Whether all batches can be cut, and the losses and the weights of the halves of one add up to its own."""
        block = max(range(self.n_blocks), key=self._counts.__getitem__)
        if self._counts[block] < 2:
            return False
        order, whole = torch.arange(self._counts[block]), self.losses(parameters, block)
        try:
            for number in range(self.n_blocks):
                self._rows(number, order[:1])
            # A model may know the size of its batches.
            halves = [self._evaluated(parameters, self._rows(block, half), block) for half in order.tensor_split(2)]
        except Exception:  # noqa: BLE001 - of the model's own
            return False
        losses, weight = added(halves)
        rtol = min(3e-2, 1000 * torch.finfo(losses.dtype).eps)
        sums = (for_float64(part).sum(dtype=torch.float64).cpu() for part in (losses, whole[0]))
        return torch.allclose(*sums, rtol=rtol, atol=1e-12) and abs(weight / total_weight(whole[1]) - 1) < rtol


class WholeLosses(ClosureLosses, BlockOutputs):
    """Full evaluation of a model in eval mode and a criterion."""

    def __init__(self, model: nn.Module, sample_losses: SampleLosses, blocks: Sequence[Block]) -> None:
        super().__init__(model, whole_evaluation(sample_losses), blocks)
        self._model_call, self.sample_losses = ClosureModule(model, call_model), sample_losses
        self._outputs = GraphWhereNeeded(self._model_call.with_parameters)

    def _rows(self, block: int, places: Tensor) -> Block:
        return _rows_of_pair(self.blocks[block], self._counts[block], places)

    def arguments(self, block: int) -> tuple[Any, ...]:
        """The inputs of a block."""
        return (copy.deepcopy(self.blocks[block][0]),)

    def outputs(self, parameters: dict[str, Tensor], arguments: tuple[Any, ...]) -> Any:
        """The outputs of the whole model."""
        return self._outputs(parameters, *arguments)


def _rows_of_pair(pair: Block, count: int, places: Tensor) -> Block:
    inputs, targets = pair
    return rows_of(inputs, count, places), rows_of(targets, count, places)


def joined_or_none(parts: Sequence[Any], counts: Sequence[int]) -> Any | None:
    """One batch of the samples of several; None if they do not fit together."""
    together, count = parts[0], counts[0]
    try:
        for part, further in zip(parts[1:], counts[1:], strict=True):
            if isinstance(part, tuple) and len(part) == 2:  # inputs and targets, or two inputs
                together = tuple(joined(a, b, (count, further)) for a, b in zip(together, part, strict=True))
            else:
                together = joined(together, part, (count, further))
            count += further
    except ValueError:
        return None
    return together


def samples_unknown(got: str) -> InputError:
    """The error about samples that cannot be told apart."""
    return InputError(
        expected="one loss for each sample", got=got,
        hint="Return the loss of each sample, or (losses, weights) with one weight for each sample. Or take the "
        "batches of the data as the minibatches: risk.minibatches(None).",
    )  # fmt: skip


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

    def picked(self, parameters: dict[str, Tensor], rows: Tensor) -> tuple[Tensor, float]:
        """The losses of some samples, in one evaluation where the blocks have equal shapes."""
        picked = list(_places_by_block(self.sizes, rows if self._places is None else self._places[rows]))
        parts = [_rows_of_pair(self.blocks[block], self.sizes[block], places) for block, places in picked]
        together = joined_or_none(parts, [len(places) for _, places in picked])
        return added([self._evaluated(parameters, part) for part in (parts if together is None else [together])])

    def _evaluated(self, parameters: dict[str, Tensor], batch: Block) -> WeightedLosses:
        inputs, targets = batch
        with torch.no_grad():
            values = (inputs,) if self.split.prefix_is_empty else self.split.prefix(inputs)
        return WeightedLosses(*self.sample_losses(self.outputs(parameters, values), targets))

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
    return copy.deepcopy(module, {id(tensor): tensor for tensor in shared})
