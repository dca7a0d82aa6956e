"""Samples cut out of the batches of a user, where the losses of a part do not depend on the rest of its batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from landscope._checks import for_float64
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
        weights = loss_weights(losses, weight)
        if weights is not None and len(losses) == self._counts[block]:
            return WeightedLosses(losses[places], weights[places.cpu()])
        if sorted(places.tolist()) == list(range(self._counts[block])):
            return WeightedLosses(losses, weight)
        raise samples_unknown("a batch whose loss is not the sum of the losses of its samples")

    @torch.no_grad()
    def _look_at_batches(self, parameters: dict[str, Tensor]) -> None:
        """Count the samples of each batch, and find out whether batches can be cut."""
        known = [self._whole.count(block) for block in range(self._whole.n_blocks)]
        self._counts = [
            self._counted(parameters, block) if count is None else count for block, count in enumerate(known)
        ]
        self._can_cut = self._may_cut and None not in known and self._adds_up(parameters)

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
        losses, weight = added(halves)
        rtol = min(3e-2, 1000 * torch.finfo(losses.dtype).eps)
        sums = (for_float64(part).sum(dtype=torch.float64).cpu() for part in (losses, whole[0]))
        return torch.allclose(*sums, rtol=rtol, atol=1e-12) and abs(weight / total_weight(whole[1]) - 1) < rtol
