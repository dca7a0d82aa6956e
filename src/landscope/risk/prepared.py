"""What a risk is made of: its own copy of the model, the criterion, and the data, counted and checked."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from landscope._checks import explained
from landscope.errors import InputError
from landscope.parameters import ParameterSpace, inner_model
from landscope.risk import checks
from landscope.risk.additivity import check_additive
from landscope.risk.batch_norm import ReestimatedLosses
from landscope.risk.closure_module import ClosureModule
from landscope.risk.conditions import Conditions
from landscope.risk.copied import check_no_renorm
from landscope.risk.data import Block, call_model, cut_blocks, read_batches, read_data, rows_at_once
from landscope.risk.evaluation import on_all_data
from landscope.risk.graphs import GraphWhereNeeded
from landscope.risk.interacting import check_samples_apart, few_rows
from landscope.risk.joined_batches import with_joined_batches
from landscope.risk.losses import SampleLosses, Unreduced, ignored_label, sample_losses_of
from landscope.risk.mean_weights import check_weights_of_means, pieces_of
from landscope.risk.model_copy import precise
from landscope.risk.output_means import check_counted_outputs
from landscope.risk.outside_weights import check_reads
from landscope.risk.own_autocast import warn_of_own_autocast
from landscope.risk.own_copy import OwnCopies
from landscope.risk.samples import Counted, counted_by, moved, n_targets, unwrapped, with_counts
from landscope.risk.sums_and_means import check_sums_and_means
from landscope.risk.weighted_losses import WeightedLosses, total_weight
from landscope.risk.whole_losses import ClosureLosses, WholeLosses, whole_evaluation
from landscope.seeded import kept_random_state

__all__ = ["PreparedData", "prepared_closure", "prepared_data"]

_NORM_ROWS = 1024
_PROBED = 32


@dataclasses.dataclass(frozen=True)
class PreparedData:
    """A criterion and its data, ready to evaluate.

    Args:
        model: The copy of the model.
        sample_losses: The criterion.
        pairs: Inputs and targets.
        largest_batch: Largest number of samples in a batch of the user.
        uses_weights: Whether the criterion uses the selected weights itself, apart from the outputs of the model.
    """

    model: nn.Module
    sample_losses: SampleLosses
    pairs: list[Block]
    largest_batch: int
    uses_weights: bool

    @property
    def n_samples(self) -> int | None:
        """Number of samples; None if it is not known."""
        counts = [n_targets(targets) for _, targets in self.pairs]
        return None if None in counts else sum(filter(None, counts)) or None

    @property
    def can_trace(self) -> bool:
        """Whether the outputs of the model give the loss, and the samples of each block are counted."""
        return not self.uses_weights and self.n_samples is not None

    def reestimated(self) -> ReestimatedLosses:
        """The losses with re-estimated statistics of batch normalisation."""
        blocks = cut_blocks(self.pairs, rows_at_once(self.pairs, _NORM_ROWS), even=True)
        return ReestimatedLosses(self.model, self.sample_losses, blocks)

    def whole(self) -> ClosureLosses:
        """The losses by evaluation of the whole model; its outputs alone may not give them."""
        blocks = cut_blocks(self.pairs, rows_at_once(self.pairs, self.largest_batch))
        if self.uses_weights:
            return ClosureLosses(self.model, whole_evaluation(self.sample_losses), blocks)
        return WholeLosses(self.model, self.sample_losses, blocks)


def prepared_data(
    model: nn.Module,
    own: nn.Module,
    space: ParameterSpace,
    criterion: Callable[..., Any],
    data: Any,
    count: Callable[[Any], Any] | None,
) -> PreparedData:
    """Read the data and copy the criterion; check both with the model.

    Args:
        model: The model of the user.
        own: Its copy.
        space: The selected parameters.
        criterion: The criterion of the user.
        data: The data of the user.
        count: ``count(batch)`` of the user.
    """
    check_no_renorm(own, space)
    pairs, largest = read_data(data, space.flatten(own).device, count)
    own, pairs = precise(own, pairs, lambda model, pair: _first_losses(model, criterion, pair))
    w0 = space.flatten(own)
    copies = OwnCopies(inner_model(model), own, space.names)
    own_criterion = copies(criterion) if callable(criterion) else criterion
    sample_losses = sample_losses_of(own_criterion)
    if isinstance(sample_losses, Unreduced):
        pairs = with_counts(pairs)
    else:  # a loss of torch counts its targets itself
        if count is not None:
            raise _count_unused("a criterion of torch, which counts its targets itself")
        pairs = [(inputs, unwrapped(targets)) for inputs, targets in pairs]
    checks.check_inputs(own, pairs[0][0])
    few = copy.deepcopy((few_rows(pairs[0], 0, 2) or pairs[0])[0])  # a model may change its inputs in place
    called = ClosureModule(own, call_model)
    check_reads(lambda parameters: called.with_parameters(parameters, few), own, inner_model(model), space)
    if not isinstance(sample_losses, Unreduced):
        check_samples_apart(own, sample_losses, pairs)
    ignored = ignored_label(criterion)
    if ignored is not None:
        checks.check_labels(own, pairs, ignored)
    with warn_of_own_autocast(f"{type(own).__name__}, or its criterion,"):
        checks.check_criterion(own, sample_losses, pairs[0])
    if isinstance(sample_losses, Unreduced):
        if count is not None:
            evaluate = lambda pair, _: own_criterion(call_model(own, pair[0]), pair[1])  # noqa: E731
            check_sums_and_means(evaluate, [(inputs, unwrapped(targets)) for inputs, targets in pairs], count)
        pairs = _with_resolved_counts(own, sample_losses, pairs)
        check_additive(own, sample_losses, pairs, w0.dtype)
        if count is not None:
            check_counted_outputs(own, sample_losses, pairs, count)
    with on_all_data():
        uses_weights = copies.uses_model and checks.uses_weights(own, space, w0, sample_losses, pairs[0])
    return PreparedData(own, sample_losses, pairs, largest, uses_weights)


def prepared_closure(
    model: nn.Module,
    own: nn.Module,
    space: ParameterSpace,
    batch_losses: Callable[[nn.Module, Any], Any],
    data: Any,
    *,
    count: Callable[[Any], Any] | None,
    conditions: Conditions,
    cache_bytes: int,
) -> tuple[nn.Module, ClosureLosses]:
    """Read the data and copy the function; check both with the model.

    Args:
        model: The model of the user.
        own: Its copy.
        space: The selected parameters.
        batch_losses: The function of the user.
        data: The data of the user.
        count: ``count(batch)`` of the user.
        conditions: Mode and random numbers.
        cache_bytes: Memory limit for stored activations.

    Returns:
        The model that is evaluated, and its losses.
    """
    check_no_renorm(own, space)
    conditions.prepare(own)
    device = space.flatten(own).device
    batches = [moved(batch, device) for batch in read_batches(data)]
    own, batches = precise(own, batches, batch_losses)
    copies = OwnCopies(inner_model(model), own, space.names)
    own_losses = copies(batch_losses)
    conditions = dataclasses.replace(conditions, generators=tuple(copies.generators))

    def of_batches(
        batches: list[Any], kind: type[ClosureLosses] = ClosureLosses, conditions: Conditions = conditions
    ) -> ClosureLosses:
        return kind(own, own_losses, batches, count=count, conditions=conditions)

    blocks = of_batches(batches)
    check_reads(lambda parameters: blocks.evaluated(parameters, blocks.blocks[0], 0), own, inner_model(model), space)
    hint = "Check the function and the batches, or the shape and the dtype of the inputs."
    with (
        explained(f"losses=f with f(model, batch) for a batch {checks.described(batches[0])}", hint),
        warn_of_own_autocast(f"{type(own).__name__}, or losses=f,"),
    ):
        first = checks.check_losses(blocks, space, space.flatten(own))
    parameters = space.unflatten(space.flatten(own))
    if count is not None and not blocks.returns_means:
        raise _count_unused("the losses of samples, or a sum with its count")
    # Losses of samples are not compared where they may be drawn; of means it is worth an evaluation to know it.
    draws = conditions.seed is not None and (count is None or _draws(blocks, of_batches, conditions, parameters, first))
    blocks.check_sums_and_means(parameters, count, first, draws=draws)
    if count is not None and not draws:
        _check_counted_means(blocks, parameters, count, first)
    if conditions.seed is None and count is None:  # a batch has its own random numbers, or its own mean
        blocks = with_joined_batches(blocks, space, space.flatten(own), of_batches, cache_bytes)
    if conditions.seed is None and conditions.mode == "eval":
        blocks.store_calls(space, space.flatten(own), cache_bytes)
    return own, blocks


def _draws(
    blocks: ClosureLosses,
    of_batches: Callable[..., ClosureLosses],
    conditions: Conditions,
    parameters: dict[str, Tensor],
    first: WeightedLosses,
) -> bool:
    """Whether a loss draws random numbers: joined batches would draw others, so that means cannot be compared."""
    if conditions.seed is None:
        return False
    other = of_batches(blocks.blocks[:1], conditions=dataclasses.replace(conditions, seed=conditions.seed + 1))
    with kept_random_state(), torch.no_grad():
        return not torch.equal(other.losses(parameters, 0)[0], first.losses)


def _check_counted_means(
    blocks: ClosureLosses, parameters: dict[str, Tensor], count: Callable[[Any], Any], first: WeightedLosses
) -> None:
    """Raise if a loss returns means of another weight than their count."""

    def mean(batch: Any) -> float | None:
        if batch is blocks.blocks[0]:
            return float(first.losses.sum()) / total_weight(first.weight)
        return blocks.mean_of(parameters, batch)

    weights = [float(counted_by(count, batch)) for batch in blocks.blocks]
    check_weights_of_means(mean, pieces_of(blocks.blocks, weights), lambda batch: counted_by(count, batch))


def _count_unused(got: str) -> InputError:
    return InputError(
        expected="a loss that returns the mean of a batch, which count= would weight by its samples", got=got,
        hint="Leave count= out.",
    )  # fmt: skip


def _first_losses(model: nn.Module, criterion: Callable[..., Any], pair: Block) -> Any:
    """The losses of a few samples, to see whether they can be evaluated."""
    return whole_evaluation(sample_losses_of(criterion))(model, cut_blocks([pair], _PROBED)[0])


@torch.no_grad()
def _with_resolved_counts(model: nn.Module, sample_losses: SampleLosses, pairs: list[Block]) -> list[Block]:
    """Batches that do not say how many samples they have, with the number of their targets or losses.

    Raises:
        InputError: If the criterion returns one number for such a batch.
    """
    found = []
    for inputs, targets in pairs:
        if n_targets(targets) is None:
            with kept_random_state():
                losses, weight = GraphWhereNeeded(sample_losses)(checks.outputs_of(model, inputs), targets)
            count = len(losses) if len(losses) == total_weight(weight) else None
            plain = unwrapped(targets)
            found.append((inputs, plain if isinstance(plain, Tensor) else Counted(plain, count, is_whole=True)))
        else:
            found.append((inputs, targets))
    return found
