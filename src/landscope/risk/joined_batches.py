"""Small batches of one structure are evaluated together: a call of a small model costs more than its arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from landscope._checks import for_float64
from landscope.parameters import ParameterSpace
from landscope.risk.samples import all_joined, rows_of
from landscope.risk.stored_calls import points_around
from landscope.risk.weighted_losses import WeightedLosses, added, loss_weights, total_weight
from landscope.risk.whole_losses import ClosureLosses
from landscope.seeded import kept_random_state

__all__ = ["JoinedLosses", "with_joined_batches"]

_JOINED_BYTES = 2**25
"""Most that the values which a graph keeps for joined batches may take: larger batches gain nothing by it."""


class JoinedLosses(ClosureLosses):
    """Losses of batches that were joined, which still knows the batches of the user."""

    joined_counts: Sequence[Sequence[int]] = ()
    """Samples of the user's batches in each joined one."""
    of_batches: Callable[[list[Any]], ClosureLosses]
    """Makes losses of other batches."""

    def random_subset(self, n: int, generator: torch.Generator) -> ClosureLosses:
        """The losses of the user's batches at random, until they hold ``n`` samples."""
        return self.apart().random_subset(n, generator)

    def apart(self) -> ClosureLosses:
        """The losses of the batches as the user gave them."""
        parts = []
        for batch, counts in zip(self.blocks, self.joined_counts, strict=True):
            ends = torch.tensor(counts).cumsum(0).tolist()
            if len(counts) == 1:
                parts.append(batch)
                continue
            parts += [rows_of(batch, ends[-1], slice(end - n, end)) for n, end in zip(counts, ends, strict=True)]
        return self.of_batches(parts)


def with_joined_batches(
    blocks: ClosureLosses,
    space: ParameterSpace,
    w0: Tensor,
    of_batches: Callable[..., ClosureLosses],
    cache_bytes: int,
) -> ClosureLosses:
    """The same losses with small neighbouring batches joined, where that changes no loss; otherwise ``blocks``.

    The losses of all samples are compared, at weights away from w0: a function may look at its whole batch, as one
    with negatives from the batch does.

    Args:
        blocks: The losses of the batches of the user; each is the mean of no other samples.
        space: The selected parameters.
        w0: Their values.
        of_batches: ``of_batches(batches, kind)`` makes losses of the class ``kind``.
        cache_bytes: Memory limit for what is stored of each batch: a joined one that does not fit would store nothing.
    """
    counts = [blocks.count(block) for block in range(blocks.n_blocks)]
    if blocks.n_blocks < 2 or blocks.takes_derivatives or not all(counts):
        return blocks
    elsewhere = points_around(space, w0)[1][2]
    try:
        with kept_random_state():
            first, kept = _first_losses(blocks, space, elsewhere)
            room = min(_JOINED_BYTES, cache_bytes) // max(1, kept)
            groups = list(_groups(blocks.blocks, [int(count or 0) for count in counts], room * int(counts[0] or 0)))
            if len(groups) == blocks.n_blocks:
                return blocks
            joined = of_batches([batch for batch, _ in groups], JoinedLosses)
            assert isinstance(joined, JoinedLosses)  # noqa: S101 - as asked
            joined.joined_counts, joined.of_batches = [found for _, found in groups], of_batches
            return joined if _are_the_same(blocks, joined, space.unflatten(elsewhere), first) else blocks
    except Exception:  # noqa: BLE001 - a model may fail in any manner; its own batches remain
        return blocks


def _first_losses(blocks: ClosureLosses, space: ParameterSpace, w: Tensor) -> tuple[WeightedLosses, int]:
    """The losses of the first batch, and the bytes of the values that their graph keeps, without the weights."""
    kept: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        kept[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    leaf = w.detach().clone().requires_grad_()
    own = {tensor.untyped_storage().data_ptr() for tensor in (leaf, *blocks._module.parameters())}
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        losses, weight = blocks.losses(space.unflatten(leaf), 0)
    weight = weight.detach() if isinstance(weight, Tensor) else weight
    return WeightedLosses(losses.detach(), weight), sum(size for place, size in kept.items() if place not in own)


def _groups(batches: Sequence[Any], counts: list[int], most: int) -> Iterator[tuple[Any, list[int]]]:
    """Neighbouring batches joined up to a number of samples, each with the samples of its parts."""
    first = 0
    while first < len(batches):
        end, found = first + 1, batches[first]
        while end < len(batches) and sum(counts[first : end + 1]) <= most:
            if all_joined(batches[end - 1 : end + 1], counts[end - 1 : end + 1]) is None:
                break
            end += 1
        if end > first + 1:
            found = _all_together(batches[first:end], counts[first:end])
        yield found, counts[first:end]
        first = end


def _all_together(batches: Sequence[Any], counts: Sequence[int]) -> Any:
    """One batch, made in halves, so that no sample is copied more often than the logarithm of their number."""
    if len(batches) == 1:
        return batches[0]
    middle = len(batches) // 2
    halves = _all_together(batches[:middle], counts[:middle]), _all_together(batches[middle:], counts[middle:])
    together = all_joined(halves, [sum(counts[:middle]), sum(counts[middle:])])
    if together is None:
        raise ValueError("batches that join in pairs alone")
    return together


@torch.no_grad()
def _are_the_same(
    blocks: ClosureLosses, joined: JoinedLosses, parameters: dict[str, Tensor], first: WeightedLosses
) -> bool:
    """Whether every joined batch has the losses and the weights of its parts; those of the first part are known."""
    place = 0
    for number, counts in enumerate(joined.joined_counts):
        numbers = range(place, place + len(counts))
        parts = [WeightedLosses(*blocks.losses(parameters, block)) if block else first for block in numbers]
        if not _alike(parts, joined.losses(parameters, number)):
            return False
        place += len(counts)
    return True


def _alike(parts: list[WeightedLosses], together: tuple[Tensor, Tensor | float]) -> bool:
    losses, weight = added(parts)
    rtol = min(1e-2, 100 * torch.finfo(losses.dtype).eps)
    weights = [loss_weights(*part) for part in parts]
    own = loss_weights(*together)
    if own is None or any(part is None for part in weights):  # sums of losses
        found, expected = (for_float64(values).sum(dtype=torch.float64).cpu() for values in (together[0], losses))
        same_weights = abs(total_weight(together[1]) - weight) <= rtol * abs(weight)
    else:
        found, expected = together[0].cpu(), losses.cpu()
        if found.shape != expected.shape:
            return False
        known = torch.cat([part for part in weights if part is not None])
        same_weights = torch.allclose(own.double().cpu(), known.double().cpu(), rtol=rtol, atol=0)
    atol = rtol * float(expected.abs().max()) if expected.numel() else 0.0
    return same_weights and torch.allclose(found, expected, rtol=rtol, atol=atol)
