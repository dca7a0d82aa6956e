"""Samples cut out of the batches of a user, where the losses of a part do not depend on the rest of its batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from landscope._checks import for_float64
from landscope.errors import InputError
from landscope.risk.evaluation import BlockLosses, places_by_block
from landscope.risk.samples import all_joined, samples_unknown
from landscope.risk.weighted_losses import WeightedLosses, added, loss_weights, total_weight

__all__ = ["CutBatches"]


class CutBatches:
    """The losses of chosen samples.

    Batches are cut if the losses of two halves add up to those of the whole. Otherwise samples are picked from the
    losses of whole batches.

    Args:
        whole: The losses of whole batches.
        evaluated: ``parameters, batch, block -> losses`` of a part of a batch, evaluated as batch number ``block`` is.
        rows: ``batch, count, places -> batch`` of some samples of a batch.
        may_cut: Whether a sample sees the same random numbers and the same divisor whatever is in its batch.
    """

    def __init__(
        self,
        whole: BlockLosses,
        evaluated: Callable[[dict[str, Tensor], Any, int], WeightedLosses],
        rows: Callable[[Any, int, Tensor], Any],
        *,
        may_cut: bool,
    ) -> None:
        self._whole, self._evaluated, self._rows, self._may_cut = whole, evaluated, rows, may_cut
        self._counts: list[int] = []
        self._can_cut: bool | None = None
        self._compares = False

    def of(self, whole: BlockLosses, evaluated: Callable[[dict[str, Tensor], Any, int], WeightedLosses]) -> CutBatches:
        """The same for other batches."""
        return CutBatches(whole, evaluated, self._rows, may_cut=self._may_cut)

    def check_apart(self, parameters: dict[str, Tensor]) -> None:
        """Raise if the losses of samples depend on what else is in their batch.

        Raises:
            InputError: If the samples of half a batch have other losses than in the whole batch.
        """
        if self._can_cut is None:
            self._look_at_batches(parameters)
        if self._compares:
            raise InputError(
                expected="a loss of each sample that does not depend on what else is in its batch",
                got="a loss that compares the samples of a batch, as a contrastive loss does",
                hint="Take the batches of the data as the minibatches: risk.minibatches(None). For another size, make "
                "the risk with batches of this size.",
            )

    def adds_up(self, parameters: dict[str, Tensor]) -> bool:
        """Whether the loss of a batch is the sum over its samples: that of its halves, or it is of one sample."""
        if self._can_cut is None:
            self._look_at_batches(parameters)
        return bool(self._can_cut) or max(self._counts, default=0) == 1

    def picked(self, parameters: dict[str, Tensor], rows: Tensor) -> tuple[Tensor, float]:
        """The losses of some samples, cut out of the batches; or from whole batches, where they cannot be cut."""
        if self._can_cut is None:
            self._look_at_batches(parameters)
        picked = list(places_by_block(self._counts, rows))
        if not self._can_cut:
            return added([self._part(parameters, block, places) for block, places in picked])
        parts = [self._cut(block, places) for block, places in picked]
        together = all_joined(parts, [len(places) for _, places in picked])
        batches = parts if together is None else [together]
        return added([self._evaluated(parameters, part, picked[0][0]) for part in batches])

    def _cut(self, block: int, places: Tensor) -> Any:
        return self._rows(self._whole.blocks[block], self._counts[block], places)

    def _part(self, parameters: dict[str, Tensor], block: int, places: Tensor) -> WeightedLosses:
        """The losses of some samples of a batch that is evaluated as a whole."""
        losses, weight = self._whole.losses(parameters, block)
        weights, is_whole = loss_weights(losses, weight), sorted(places.tolist()) == list(range(self._counts[block]))
        if not is_whole:
            self.check_apart(parameters)
        if weights is not None and len(losses) == self._counts[block]:
            return WeightedLosses(losses[places], weights[places.cpu()])
        if is_whole:
            return WeightedLosses(losses, weight)
        raise samples_unknown("a batch whose loss is not the sum of the losses of its samples")

    @torch.no_grad()
    def _look_at_batches(self, parameters: dict[str, Tensor]) -> None:
        """Count the samples of each batch, and find out whether batches can be cut."""
        known = [self._whole.count(block) for block in range(self._whole.n_blocks)]
        self._counts = [
            self._counted(parameters, block) if count is None else count for block, count in enumerate(known)
        ]
        adds_up = self._may_cut and self._adds_up(parameters)
        self._can_cut = adds_up and None not in known
        if not self._may_cut:
            self._compares = self._changes_with_others(parameters)

    def _counted(self, parameters: dict[str, Tensor], block: int) -> int:
        """Number of losses of a batch that does not say how many samples it has."""
        losses, weight = self._whole.losses(parameters, block)
        if loss_weights(losses, weight) is None:
            raise samples_unknown("one loss for a batch whose samples cannot be told apart")
        return len(losses)

    def _adds_up(self, parameters: dict[str, Tensor]) -> bool:
        """Whether all batches can be cut, and the losses and the weights of the halves of one add up to its own."""
        block = max(range(self._whole.n_blocks), key=self._counts.__getitem__)
        if self._counts[block] < 2:
            return False
        order, whole = torch.arange(self._counts[block]), self._whole.losses(parameters, block)
        try:
            for number in range(self._whole.n_blocks):
                self._cut(number, order[:1])
            # A model may know the size of its batches.
            halves = [self._evaluated(parameters, self._cut(block, half), block) for half in order.tensor_split(2)]
        except Exception:  # noqa: BLE001 - of the model's own
            return False
        self._compares = _differ(WeightedLosses(*whole), halves)
        losses, weight = added(halves)
        rtol = min(3e-2, 1000 * torch.finfo(losses.dtype).eps)
        sums = (for_float64(part).sum(dtype=torch.float64).cpu() for part in (losses, whole[0]))
        return torch.allclose(*sums, rtol=rtol, atol=1e-12) and abs(weight / total_weight(whole[1]) - 1) < rtol

    def _changes_with_others(self, parameters: dict[str, Tensor]) -> bool:
        """Whether losses of samples change where the second half of their batch becomes a copy of the first.

        The batch keeps its size, so that each sample sees the same random numbers and the same divisor.
        """
        block = max(range(self._whole.n_blocks), key=self._counts.__getitem__)
        count = self._counts[block]
        half = (count + 1) // 2
        try:
            batch = self._rows(self._whole.blocks[block], count, torch.arange(count) % half)
            pair = [self._whole.losses(parameters, block), self._evaluated(parameters, batch, block)]
        except Exception:  # noqa: BLE001 - of the model's own
            return False
        weights = [loss_weights(*losses) for losses in pair]
        first, second = (
            WeightedLosses(losses[:half], own[:half]) if own is not None and len(own) == count else None
            for (losses, _), own in zip(pair, weights, strict=True)
        )
        return first is not None and second is not None and _differ(first, [second])


def _differ(whole: WeightedLosses, parts: list[WeightedLosses]) -> bool:
    """Whether samples have other losses in a part of their batch; False where they have none of their own."""
    weights, of_parts = loss_weights(*whole), [loss_weights(*part) for part in parts]
    known = [own for own in of_parts if own is not None]
    if weights is None or len(known) < len(parts) or sum(map(len, known)) != len(weights):
        return False
    # A batch may divide all its weights by their sum, so that losses are compared without their weights.
    counted = (weights > 0) & (torch.cat(known) > 0)
    found = torch.cat([_own(part.losses, own) for part, own in zip(parts, known, strict=True)])[counted]
    expected = _own(whole.losses, weights)[counted]
    if not bool(torch.isfinite(expected).all()) or len(expected) == 0:
        return False
    rtol = min(3e-2, 1000 * torch.finfo(whole.losses.dtype).eps)
    return float((found - expected).abs().max()) > rtol * float(expected.abs().max())


def _own(losses: Tensor, weights: Tensor) -> Tensor:
    return losses.detach().cpu().double() / weights
