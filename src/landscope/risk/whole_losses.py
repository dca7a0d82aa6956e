"""Losses of blocks by evaluation of the whole model, for any model, any loss and any batch."""

from __future__ import annotations

import collections
import contextlib
import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscope._checks import for_float64
from landscope.errors import InputError
from landscope.parameters import ParameterSpace
from landscope.risk.checkpointing import no_checkpointing
from landscope.risk.conditions import Conditions, own_buffers
from landscope.risk.data import Block, call_model, read_batches
from landscope.risk.evaluation import BlockLosses, BlockOutputs, places_by_block
from landscope.risk.graphs import GraphWhereNeeded
from landscope.risk.losses import SampleLosses
from landscope.risk.module_cut import Calls, NothingToSkipError, OtherCallsError, replayed
from landscope.risk.samples import (
    all_joined,
    counted_by,
    moved,
    rows_of,
    rows_of_pair,
    samples_unknown,
)
from landscope.risk.stored_calls import StoredCalls, check_equal, mean_loss, points_around
from landscope.risk.weighted_losses import WeightedLosses, added, loss_weights, read_losses, total_weight

__all__ = ["ClosureLosses", "ClosureModule", "WholeLosses", "whole_evaluation"]


def whole_evaluation(sample_losses: SampleLosses) -> Callable[[nn.Module, Block], WeightedLosses]:
    """A function for the losses of a batch by the whole model."""
    return lambda model, batch: WeightedLosses(*sample_losses(call_model(model, batch[0]), batch[1]))


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
        replaced = {
            alias: value
            for name, value in parameters.items()
            for alias in self._all_names.get(f"model.{name}", [f"model.{name}"])
        }
        with no_checkpointing():  # to search the model for tied weights in every call would be slow
            return torch.func.functional_call(self, replaced, (batch,), tie_weights=False)


class ClosureLosses(BlockLosses):
    """Full evaluation of ``batch_losses(model, batch)``, for any model and any batch."""

    stored: StoredCalls | None = None
    """The calls of modules that can be skipped, if this was found to change no loss."""

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
        return self._evaluated(parameters, self.blocks[block], block, self._stored_calls(block))

    @property
    def takes_derivatives(self) -> bool:
        """Whether the losses were found to take derivatives themselves."""
        return self._evaluate.is_needed

    def _evaluated(
        self, parameters: dict[str, Tensor], batch: Any, block: int, calls: Calls | None = None
    ) -> WeightedLosses:
        """The losses of a batch, or of a part of it, under the conditions of the batch with number ``block``."""
        returned = self._evaluate(parameters, batch, block, calls)
        if self._means_over is not None and isinstance(returned, Tensor) and returned.ndim == 0:
            return WeightedLosses(returned.reshape(1) * self._means_over[block], float(self._means_over[block]))
        return read_losses(returned)

    @torch.no_grad()
    def returns_mean(self, parameters: dict[str, Tensor]) -> bool:
        """Whether the function returns one number for the first batch, which does not say how many samples it has."""
        with torch.random.fork_rng(devices=[]):
            returned = self._evaluate(parameters, self.blocks[0], 0, None)
        return isinstance(returned, Tensor) and returned.ndim == 0

    def _returned(self, parameters: dict[str, Tensor], batch: Any, block: int, calls: Calls | None) -> Any:
        # A model may change its input in place.
        return self._under_conditions(parameters, lambda: copy.deepcopy(batch), block, calls)

    def _under_conditions(
        self, parameters: dict[str, Tensor], batch: Callable[[], Any], block: int, calls: Calls | None = None
    ) -> Any:
        if self._conditions is None:
            return _call(self._module, parameters, batch, calls)
        model = self._module.model
        with self._conditions.of_batch(model, block):
            return _call(self._module, {**own_buffers(model), **parameters}, batch, calls)

    @torch.no_grad()
    def store_calls(self, space: ParameterSpace, w0: Tensor, cache_bytes: int) -> str:
        """Skip calls of modules that the selected weights do not change, unless this changes the loss.

        Returns:
            The reason in words, if no call can be skipped.
        """
        elsewhere = space.unflatten(points_around(space, w0)[1][2])
        stored = StoredCalls(self._module, self._under_conditions, self.blocks, space, w0, cache_bytes)
        try:
            with torch.random.fork_rng(devices=[]):
                expected = mean_loss(*self.losses(elsewhere, 0))
                if self.takes_derivatives:
                    return "its loss takes derivatives through its layers"
                stored.record(0)
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

    def _rows(self, block: int, places: Tensor) -> Any:
        """Some samples of a batch."""
        return rows_of(self.blocks[block], self._counts[block], places)

    def picked(self, parameters: dict[str, Tensor], rows: Tensor) -> tuple[Tensor, float]:
        """The losses of some samples, cut out of the batches; or from whole batches, where they cannot be cut."""
        self._look_at_batches(parameters)
        picked = list(places_by_block(self._counts, rows))
        if not self._can_cut:
            return added([self._part(parameters, block, places) for block, places in picked])
        parts = [self._rows(block, places) for block, places in picked]
        together = all_joined(parts, [len(places) for _, places in picked])
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
        self._outputs = GraphWhereNeeded(self._called)

    def _rows(self, block: int, places: Tensor) -> Block:
        return rows_of_pair(self.blocks[block], self._counts[block], places)

    def arguments(self, block: int) -> tuple[Any, ...]:
        """The inputs of a block, and the calls of modules that are stored for it."""
        return copy.deepcopy(self.blocks[block][0]), self._stored_calls(block)

    def outputs(self, parameters: dict[str, Tensor], arguments: tuple[Any, ...]) -> Any:
        """The outputs of the whole model."""
        inputs, calls = arguments
        return self._outputs(parameters, inputs, calls)

    def _called(self, parameters: dict[str, Tensor], inputs: Any, calls: Calls | None) -> Any:
        return _call(self._model_call, parameters, lambda: inputs, calls)
