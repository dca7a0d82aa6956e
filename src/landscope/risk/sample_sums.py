"""The losses of single samples of a risk: where they come from, and how they are weighted."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from landscope._checks import for_float64
from landscope.full_precision import in_full_precision
from landscope.parameters import ParameterSpace
from landscope.plain_lines import PlainBatchLines
from landscope.protocols import BatchLines, ProgressCallback, silent
from landscope.risk.derivatives import mean_loss
from landscope.risk.evaluation import BlockLosses, TracedLosses
from landscope.risk.samples import samples_unknown
from landscope.risk.weighted_losses import loss_weights, mean_of, total_weight

__all__ = ["PartLines", "Samples"]


@in_full_precision
class Samples:
    r"""The samples of a risk :math:`L = \sum_k s_k / \sum_k c_k`, with sums of losses s_k and weights c_k.

    Where the criterion gives one loss and one weight for each sample, one evaluation of the data gives all of them.
    Otherwise chosen samples are evaluated as a batch of their own.

    Args:
        blocks: The losses of the data.
        space: The selected weights of the model.
        w0: Weights of the model.
        traced_lines: Lines of traced losses, ``w0, directions -> lines``.
    """

    def __init__(
        self,
        blocks: BlockLosses,
        space: ParameterSpace,
        w0: Tensor,
        traced_lines: Callable[[TracedLosses, Tensor, Tensor], BatchLines],
    ) -> None:
        self.blocks, self._space, self._w0, self._traced_lines = blocks, space, w0, traced_lines

    @functools.cached_property
    @torch.no_grad()
    def own_weights(self) -> Tensor | None:
        """The weights c_k ``[M]`` in the order of the data, if one evaluation of the data gives all s_k and c_k."""
        parts, parameters = [], self._space.unflatten(self._w0)
        for block in range(self.blocks.n_blocks):
            losses, weight = self.blocks.losses(parameters, block)
            weights, count = loss_weights(losses, weight), self.blocks.count(block)
            if weights is None or (count is not None and count != len(losses)):
                return None
            parts.append(weights)
        return self.blocks.in_data_order(torch.cat(parts))

    @functools.cached_property
    def count(self) -> int:
        """Number of samples.

        Raises:
            InputError: If the samples of a batch cannot be told apart.
        """
        if self.own_weights is not None:
            return len(self.own_weights)
        counts = [self.blocks.count(block) for block in range(self.blocks.n_blocks)]
        known = [count for count in counts if count is not None]
        if len(known) < len(counts):
            raise samples_unknown("one loss for a batch whose samples cannot be told apart")
        return sum(known)

    @torch.no_grad()
    def check_apart(self) -> None:
        """Raise if the losses of samples depend on what else is in their batch.

        Raises:
            InputError: If they do.
        """
        self.blocks.check_apart(self._space.unflatten(self._w0))

    def sums(self, w: Tensor, progress: ProgressCallback = silent) -> Tensor:
        """The sums s_k ``[M]`` in float64 with a graph, in the order of the data, where they have own weights."""
        parts = []
        for block, part in enumerate(self._parts()):
            parts.append(part(w))
            progress(block + 1, self.blocks.n_blocks)
        return self.blocks.in_data_order(torch.cat([for_float64(part).double() for part in parts]))

    def lines_of_sums(self, w0: Tensor, directions: Tensor) -> BatchLines:
        """The sums s_k along lines."""
        if isinstance(self.blocks, TracedLosses):
            return self._traced_lines(self.blocks, w0, directions)
        return PartLines(self._parts(), w0, directions)

    def _parts(self) -> list[Callable[[Tensor], Tensor]]:
        def losses(w: Tensor, block: int) -> Tensor:
            return self.blocks.losses(self._space.unflatten(w), block)[0]

        return [functools.partial(losses, block=block) for block in range(self.blocks.n_blocks)]

    def loss(self, w: Tensor, rows: Tensor) -> Tensor:
        """The loss of some samples, with a graph."""
        return mean_loss(self.blocks, self._space, w, rows)

    def block_loss(self, w: Tensor, block: int) -> Tensor:
        """The loss of one batch of the data, with a graph."""
        losses, weight = self.blocks.losses(self._space.unflatten(w), block)
        return mean_of(losses, total_weight(weight))

    @torch.no_grad()
    def weight(self, rows: Tensor) -> float:
        """The weight of some samples."""
        return self.blocks.picked(self._space.unflatten(self._w0), rows.to(self._w0.device))[1]

    @torch.no_grad()
    def block_weight(self, block: int) -> float:
        """The weight of one batch of the data."""
        return total_weight(self.blocks.losses(self._space.unflatten(self._w0), block)[1])


@in_full_precision
class PartLines(PlainBatchLines):
    """Losses along lines from several functions, which are differentiated one after another.

    Args:
        parts: Functions ``w[N] -> losses[m]``.
        w0: Start of the lines, ``[N]``.
        directions: Directions of the lines, ``[k, N]``.
    """

    def __init__(self, parts: Sequence[Callable[[Tensor], Tensor]], w0: Tensor, directions: Tensor) -> None:
        super().__init__(lambda w: torch.cat([for_float64(part(w)).double() for part in parts]), w0, directions)
        self._each = [PlainBatchLines(part, w0, directions) for part in parts]

    def pieces(self, directions: Sequence[int]) -> Iterator[Callable[..., Tensor]]:
        """Yield one function for each part."""
        for lines in self._each:
            yield from lines.pieces(directions)
