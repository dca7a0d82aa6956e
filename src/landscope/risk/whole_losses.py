"""Losses of blocks by evaluation of the whole model, for any model, any loss and any batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscope.errors import InputError
from landscope.parameters import ParameterSpace, named_tensors
from landscope.risk.closure_module import ClosureModule
from landscope.risk.conditions import Conditions, own_buffers
from landscope.risk.cut_batches import CutBatches
from landscope.risk.data import Block, call_model, cut_blocks, read_batches
from landscope.risk.evaluation import BlockLosses, BlockOutputs, places_by_block, random_rows
from landscope.risk.forward_mode import ForwardMode
from landscope.risk.graphs import GraphWhereNeeded
from landscope.risk.known_labels import copied_batch
from landscope.risk.losses import SampleLosses
from landscope.risk.module_cut import Calls, NothingToSkipError
from landscope.risk.samples import Counted, all_joined, counted_by, moved, n_targets, rows_of, rows_of_pair
from landscope.risk.stored_calls import StoredCalls, mean_loss, points_around
from landscope.risk.sums_and_means import check_sums_and_means
from landscope.risk.weighted_losses import WeightedLosses, read_losses, total_weight
from landscope.seeded import kept_random_state

__all__ = ["ClosureLosses", "WholeLosses", "whole_evaluation"]


def whole_evaluation(sample_losses: SampleLosses) -> Callable[[nn.Module, Block], WeightedLosses]:
    """A function for the losses of a batch by the whole model."""
    return lambda model, batch: WeightedLosses(*sample_losses(call_model(model, batch[0]), batch[1]))


class ClosureLosses(BlockLosses):
    """Full evaluation of ``batch_losses(model, batch)``, for any model and any batch."""

    stored: StoredCalls | None = None
    """The calls of modules that can be skipped, if this was found to change no loss."""
    returns_means = False
    """Whether the function was found to return the means of batches, whose number of samples ``count`` gives."""

    def __init__(
        self,
        model: nn.Module,
        batch_losses: Callable[[nn.Module, Any], Any],
        batches: Iterable[Any],
        *,
        count: Callable[[Any], Any] | None = None,
        conditions: Conditions | None = None,
        rows: Callable[[Any, int, Tensor], Any] = rows_of,
    ) -> None:
        self._module, self._conditions = ClosureModule(model, batch_losses), conditions
        self._evaluate = GraphWhereNeeded(self._returned)
        self._forward_mode = ForwardMode(lambda parameters: self.losses(parameters, 0)[0].sum())
        device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
        self.blocks = [moved(batch, device) for batch in copy.deepcopy(read_batches(batches))]
        self.n_blocks = len(self.blocks)
        self._count, self._rows = count, rows
        self._means_over = None if count is None else [counted_by(count, batch) for batch in self.blocks]
        draws = conditions is not None and conditions.seed is not None
        self._cut = CutBatches(self, self.evaluated, rows, may_cut=count is None and not draws)
        if self.n_blocks == 0:
            raise InputError(
                expected="at least one batch",
                got="no data",
                hint="Check the loader. A generator is empty after its first use.",
            )

    @property
    def model(self) -> nn.Module:
        """The model that is evaluated."""
        return self._module.model

    def random_subset(self, n: int, generator: torch.Generator) -> ClosureLosses:
        """The losses of whole batches at random, until they hold ``n`` samples."""
        chosen, found = [], 0
        for block in torch.randperm(self.n_blocks, generator=generator).tolist():
            if found >= n:
                break
            chosen.append(block)
            found += (self.count(block) if self._means_over is None else self._means_over[block]) or 1
        return self._of_blocks(sorted(chosen))

    def _of_blocks(self, chosen: Sequence[int]) -> ClosureLosses:
        """The losses of some batches, without what is stored by the number of a batch."""
        other = copy.copy(self)
        other.blocks, other.n_blocks, other.stored = [self.blocks[block] for block in chosen], len(chosen), None
        if self._means_over is not None:
            other._means_over = [self._means_over[block] for block in chosen]
        other._cut = self._cut.of(other, other.evaluated)
        return other

    def of_model(self, model: nn.Module) -> ClosureLosses:
        """The same function of another model on the same batches."""
        return ClosureLosses(
            model, self._module.batch_losses, self.blocks, count=self._count, conditions=self._conditions
        )

    def without_stored(self) -> ClosureLosses:
        """The same losses, in which no call of a module is skipped."""
        return self._of_blocks(range(self.n_blocks))

    @property
    def takes_derivatives(self) -> bool:
        """Whether the losses were found to take derivatives themselves."""
        return self._evaluate.is_needed

    def losses(self, parameters: dict[str, Tensor], block: int) -> tuple[Tensor, Tensor | float]:
        """The losses of one batch with the selected parameters replaced."""
        return self.evaluated(parameters, self.blocks[block], block, self._stored_calls(block))

    def picked(self, parameters: dict[str, Tensor], rows: Tensor) -> tuple[Tensor, float]:
        """The losses of some samples."""
        return self._cut.picked(parameters, rows)

    def check_apart(self, parameters: dict[str, Tensor]) -> None:
        """Raise if the losses of samples depend on what else is in their batch."""
        self._cut.check_apart(parameters)

    def adds_up(self, parameters: dict[str, Tensor]) -> bool:
        """Whether the loss of a batch is known to be the sum over its samples, as a mean times its count may be."""
        draws = self._conditions is not None and self._conditions.seed is not None
        of_means = self.returns_means and not draws
        cut = CutBatches(self, self._counted_anew, self._rows, may_cut=True) if of_means else self._cut
        try:
            return cut.adds_up(parameters)
        except InputError:  # the samples of a batch cannot be counted
            return False

    def _counted_anew(self, parameters: dict[str, Tensor], part: Any, block: int) -> WeightedLosses:
        """The mean of a part of a batch times its own count."""
        assert self._count is not None  # noqa: S101 - of means alone
        mean, count = self._evaluate(parameters, part, block, None), counted_by(self._count, part)
        return WeightedLosses(mean.reshape(1) * count, float(count))

    def evaluated(
        self, parameters: dict[str, Tensor], batch: Any, block: int, calls: Calls | None = None
    ) -> WeightedLosses:
        """The losses of a batch, or of a part of it, under the conditions of the batch with number ``block``."""
        returned = self._evaluate(parameters, batch, block, calls)
        if self._means_over is not None and isinstance(returned, Tensor) and returned.ndim == 0:
            self.returns_means = True
            return WeightedLosses(returned.reshape(1) * self._means_over[block], float(self._means_over[block]))
        return read_losses(returned)

    @torch.no_grad()
    def mean_of(self, parameters: dict[str, Tensor], batch: Any) -> float | None:
        """The number that the function returns for a batch; None if it returns losses, or a sum with its weight."""
        with kept_random_state():
            returned = self._evaluate(parameters, batch, 0, None)
        return float(returned) if isinstance(returned, Tensor) and returned.ndim == 0 else None

    def check_sums_and_means(
        self, parameters: dict[str, Tensor], count: Callable[[Any], Any] | None, first: WeightedLosses, *, draws: bool
    ) -> None:
        """Raise if the function returns a mean where a sum belongs, or, with ``count``, a sum where a mean belongs.

        Args:
            parameters: The weights.
            count: ``count(batch)`` of the user.
            first: The losses of the first batch there.
            draws: Whether the function may draw random numbers.
        """
        known = first if count is None else first.losses / total_weight(first.weight)

        def returned(batch: Any, number: int) -> Any:
            is_known = batch is self.blocks[0] and (number == 0 or not draws)  # of the same random numbers
            return known if is_known else self._evaluate(parameters, batch, number, None)

        with kept_random_state():
            check_sums_and_means(returned, self.blocks, count, draws=draws)

    def _returned(self, parameters: dict[str, Tensor], batch: Any, block: int, calls: Calls | None) -> Any:
        # A model may change its input in place.
        return self._under_conditions(parameters, lambda: copied_batch(batch), block, calls)

    def _under_conditions(
        self, parameters: dict[str, Tensor], batch: Callable[[], Any], block: int, calls: Calls | None = None
    ) -> Any:
        self.check_forward_mode(parameters)
        if self._conditions is None:
            return self._module.with_calls(parameters, batch, calls)
        with self._conditions.of_batch(self.model, block):
            return self._module.with_calls({**own_buffers(self.model), **parameters}, batch, calls)

    def check_forward_mode(self, parameters: dict[str, Tensor]) -> None:
        """Raise in forward mode where it has other derivatives than reverse mode, so that callers take that."""

        def own() -> dict[str, Tensor]:
            named = named_tensors(self.model)
            return {name: named[name] for name in parameters}

        self._forward_mode.check(own)

    def store_calls(self, space: ParameterSpace, w0: Tensor, cache_bytes: int) -> str:
        """Skip calls of modules that the selected weights do not change, unless this changes the loss.

        Returns:
            The reason in words, if no call can be skipped.
        """
        elsewhere = space.unflatten(points_around(space, w0)[1][2])

        def losses(parameters: dict[str, Tensor], calls: Calls | None) -> WeightedLosses:
            return self.evaluated(parameters, self.blocks[0], 0, calls)

        def loss(calls: Calls | None) -> Tensor:
            value = mean_loss(*losses(elsewhere, calls))
            if self.takes_derivatives:
                raise NothingToSkipError("its loss takes derivatives through its layers")
            return value

        found = StoredCalls(self._module, self._under_conditions, self.blocks, space, w0, cache_bytes)
        reason = found.reason_against(loss, losses)
        self.stored = None if reason else found
        return reason

    def _stored_calls(self, block: int) -> Calls | None:
        return None if self.stored is None else self.stored(block)


class WholeLosses(ClosureLosses, BlockOutputs):
    """Full evaluation of a model in eval mode and a criterion."""

    def __init__(self, model: nn.Module, sample_losses: SampleLosses, blocks: Sequence[Block]) -> None:
        super().__init__(model, whole_evaluation(sample_losses), blocks, rows=rows_of_pair)
        self._model_call, self.sample_losses = ClosureModule(model, call_model), sample_losses
        self._outputs = GraphWhereNeeded(self._called)

    def random_subset(self, n: int, generator: torch.Generator) -> ClosureLosses:
        """The losses of ``n`` samples at random where they are counted; otherwise of whole batches."""
        counts = [n_targets(targets) for _, targets in self.blocks]
        if None in counts or any(isinstance(targets, Counted) and targets.is_whole for _, targets in self.blocks):
            return super().random_subset(n, generator)
        sizes = [int(count or 0) for count in counts]
        picked = list(places_by_block(sizes, random_rows(sum(sizes), n, generator)))
        parts = [rows_of_pair(self.blocks[block], sizes[block], places) for block, places in picked]
        together = all_joined(parts, [len(places) for _, places in picked])
        blocks = parts if together is None else cut_blocks([together], max(sizes))
        return type(self)(self.model, self.sample_losses, blocks)

    def arguments(self, block: int) -> tuple[Any, ...]:
        """The inputs of a block, and the calls of modules that are stored for it."""
        return copy.deepcopy(self.blocks[block][0]), self._stored_calls(block)

    def arguments_of(self, inputs: Any) -> tuple[Any, ...]:
        """The inputs, without stored calls."""
        return copy.deepcopy(inputs), None

    def outputs(self, parameters: dict[str, Tensor], arguments: tuple[Any, ...]) -> Any:
        """The outputs of the whole model."""
        inputs, calls = arguments
        return self._outputs(parameters, inputs, calls)

    def _called(self, parameters: dict[str, Tensor], inputs: Any, calls: Calls | None) -> Any:
        self.check_forward_mode(parameters)
        return self._model_call.with_calls(parameters, lambda: inputs, calls)
