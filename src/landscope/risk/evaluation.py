"""Losses of blocks of data as a function of the selected parameters, which every risk uses."""

from __future__ import annotations

import abc
import contextlib
import copy
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from landscope._checks import explained, for_float64
from landscope.errors import InputError
from landscope.risk.data import Block, can_join, cut_blocks
from landscope.risk.explained_calls import ExplainedCalls
from landscope.risk.losses import SampleLosses
from landscope.risk.model_copy import detached_copy
from landscope.risk.samples import (
    Counted,
    all_joined,
    count_of,
    n_targets,
    rows_of_pair,
)
from landscope.risk.tracing import SplitModel, substituted_call
from landscope.risk.weighted_losses import WeightedLosses, added
from landscope.threads import one_thread

__all__ = [
    "BlockLosses",
    "BlockOutputs",
    "PrefixCache",
    "TracedLosses",
    "evaluated",
    "on_all_data",
    "places_by_block",
    "random_rows",
    "replica",
]

M = TypeVar("M", bound=nn.Module)


def evaluated(block: int, n_blocks: int) -> contextlib.AbstractContextManager[None]:
    """Explain an error in the evaluation of one part of the data; only the first was tried before."""
    return explained(
        f"a loss that can be evaluated on all data (here part {block + 1} of {n_blocks})",
        "Compare the shapes, the dtypes and the labels of this part with those of the first one.",
    )


def on_all_data() -> ExplainedCalls:
    """Explain an error in the evaluation of many parts of the data; also a decorator."""
    return ExplainedCalls(
        "a loss that can be evaluated on all data",
        "Compare the shapes, the dtypes and the labels of all samples; the first ones were tried before.",
    )


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

    @abc.abstractmethod
    def random_subset(self, n: int, generator: torch.Generator) -> BlockLosses:
        """The losses of about ``n`` samples: samples at random where they can be picked, otherwise whole batches."""

    @abc.abstractmethod
    def without_stored(self) -> BlockLosses:
        """The same losses without stored results, for a model whose buffers changed."""

    def check_apart(self, parameters: dict[str, Tensor]) -> None:  # noqa: B027 - most losses are known to be apart
        """Raise if the losses of samples depend on what else is in their batch."""

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
    def arguments_of(self, inputs: Any) -> tuple[Any, ...]:
        """The arguments of :meth:`outputs` for any inputs, from nothing that is stored."""

    def plain_arguments(self, block: int) -> tuple[Any, ...]:
        """The arguments of :meth:`outputs` for a block, which are one entry for each sample if those of parts are."""
        return self.arguments_of(self.blocks[block][0])

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


def places_by_block(sizes: Sequence[int], rows: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield the blocks that contain some of the samples ``rows``, with the places of these samples in the block."""
    ends = torch.tensor(list(itertools.accumulate(sizes)), device="cpu")
    starts, on_host = ends - torch.tensor(sizes, device="cpu"), rows.cpu()  # of a GPU each block would ask
    block_of_row = torch.searchsorted(ends, on_host, right=True)
    places = (on_host - starts[block_of_row])[torch.argsort(block_of_row, stable=True)].to(rows.device)
    blocks, counts = block_of_row.unique(return_counts=True)
    yield from zip(blocks.tolist(), places.split(counts.tolist()), strict=True)


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

    def plain_arguments(self, block: int) -> tuple[Any, ...]:
        """The prefix outputs of a block."""
        return self.prefix_outputs(block)

    def arguments_of(self, inputs: Any) -> tuple[Any, ...]:
        """The prefix outputs of any inputs."""
        if self.split.prefix_is_empty:
            return (inputs,)
        with torch.no_grad():
            return tuple(self.split.prefix(copy.deepcopy(inputs)))

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
        picked = list(places_by_block(self.sizes, rows if self._places is None else self._places[rows]))
        parts, together = self._samples(picked)
        return added([self._evaluated(parameters, part) for part in (parts if together is None else [together])])

    def random_subset(self, n: int, generator: torch.Generator) -> TracedLosses:
        """The losses of ``n`` samples at random."""
        parts, together = self._samples(list(places_by_block(self.sizes, random_rows(sum(self.sizes), n, generator))))
        blocks = parts if together is None else cut_blocks([together], max(self.sizes))
        return TracedLosses(self.split, self.sample_losses, blocks, self.prefix_outputs.cache_bytes)

    def without_stored(self) -> TracedLosses:
        """The same losses, whose prefix is evaluated at every call."""
        other = copy.copy(self)
        other.prefix_outputs = PrefixCache(self.split, self.blocks, 0)
        return other

    def _evaluated(self, parameters: dict[str, Tensor], batch: Block) -> WeightedLosses:
        inputs, targets = batch
        with torch.no_grad():
            values = (inputs,) if self.split.prefix_is_empty else self.split.prefix(inputs)
        return WeightedLosses(*self.sample_losses(self.outputs(parameters, values), targets))

    def _samples(self, picked: Sequence[tuple[int, Tensor]]) -> tuple[list[Block], Block | None]:
        """Inputs and targets of some samples in each of some blocks, and of all of them where they fit together."""
        parts = [rows_of_pair(self.blocks[block], self.sizes[block], places) for block, places in picked]
        return parts, all_joined(parts, [len(places) for _, places in picked])

    @torch.no_grad()
    def with_largest_losses(
        self, parameters: dict[str, Tensor], *, share: float, min_share: float, max_fraction: float
    ) -> TracedLosses | None:
        """Restrict the losses to those samples, with the largest losses at ``parameters``, that carry a ``share``.

        At most a ``max_fraction`` of the samples is taken; None if they carry less than ``min_share``, or the losses
        are not one for each sample.
        """
        with one_thread():  # the choice of samples must not depend on the number of threads
            parts = [for_float64(self.losses(parameters, block)[0]).double() for block in range(self.n_blocks)]
            losses = torch.cat(parts).cpu()
        if [len(part) for part in parts] != self.sizes or not can_join(self.blocks) or not bool((losses >= 0).all()):
            return None
        descending = torch.sort(losses, descending=True, stable=True)
        carried = torch.cumsum(descending.values, dim=0)
        carried /= carried[-1].clone()
        count = min(int((carried < share).sum()) + 1, int(max_fraction * len(losses)))
        if count == 0 or not float(carried[count - 1]) >= min_share:
            return None
        rows = descending.indices[:count].to(self.blocks[0][1].device)
        _, chosen = self._samples(list(places_by_block(self.sizes, rows)))
        assert chosen is not None  # noqa: S101 - can_join() says that they fit together
        blocks = cut_blocks([chosen], max(self.sizes))
        return TracedLosses(self.split, self.sample_losses, blocks, self.prefix_outputs.cache_bytes // 4)


def random_rows(total: int, n: int, generator: torch.Generator) -> Tensor:
    """At most ``n`` of ``total`` indices at random, in ascending order."""
    return torch.randperm(total, generator=generator)[:n].sort().values


def replica(module: M) -> M:
    """A copy of a module that shares its tensors, so that two threads can replace parameters at the same time."""
    shared = [*module.parameters(), *module.buffers()]
    return detached_copy(module, {id(tensor): tensor for tensor in shared})
