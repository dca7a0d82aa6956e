"""Checks of a criterion that returns one number for a batch: it must be the mean that the risk takes it for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscope.errors import InputError
from landscope.risk.checks import outputs_of
from landscope.risk.data import Block, cut_blocks
from landscope.risk.graphs import GraphWhereNeeded
from landscope.risk.losses import Unreduced
from landscope.risk.mean_weights import check_weights_of_means, cut_by_label, pieces_of
from landscope.risk.samples import Counted, joined, n_targets, rows_of_pair, unwrapped
from landscope.seeded import kept_random_state

__all__ = ["check_counted_outputs", "returns_mean", "split_blocks"]

_ROWS = 256
_FEW = 4


def returns_mean(model: nn.Module, sample_losses: Unreduced, blocks: Sequence[Block]) -> bool:
    """Whether a criterion returns one number for several samples, as their mean."""
    several = [block for block in blocks if (n_targets(block[1]) or 0) > 1 and not _is_whole(block[1])]
    if not several:
        return False
    losses, weight = GraphWhereNeeded(sample_losses)(outputs_of(model, several[0][0]), several[0][1])
    return len(losses) == 1 and not isinstance(weight, Tensor)


def _is_whole(targets: Any) -> bool:
    return isinstance(targets, Counted) and targets.is_whole


@torch.no_grad()
def check_counted_outputs(
    model: nn.Module, sample_losses: Unreduced, pairs: Sequence[Block], count: Callable[[Any], Any]
) -> None:
    """Raise if the means of batches that the user counted have another weight than their count."""
    criterion = GraphWhereNeeded(sample_losses)

    def mean(batch: Block) -> float | None:
        with kept_random_state():
            losses, weight = criterion(outputs_of(model, batch[0]), Counted(batch[1], 1))
        return float(losses[0]) if len(losses) == 1 and weight == 1 else None

    batches = [(inputs, unwrapped(targets)) for inputs, targets in pairs]
    weights = [float(n_targets(targets) or 0) for _, targets in pairs]
    check_weights_of_means(mean, pieces_of(batches, weights), count)


def split_blocks(model: nn.Module, pairs: Sequence[Block]) -> Iterator[tuple[Block, Block, Block]]:
    """All data as outputs with targets: each block with its parts of different labels, and the ends of neighbours.

    Samples in tensors are taken in a random order, so that sorted labels are mixed.

    Raises:
        InputError: If several batches cannot be cut, so that the weights of their means are not known.
    """
    before: tuple[Block, int] | None = None
    unknown, n_cut = "", 0
    for inputs, targets in cut_blocks(_mixed(pairs), _ROWS):
        count = n_targets(targets)
        if count is None or _is_whole(targets):
            continue
        try:
            parts, before = _split((outputs_of(model, inputs), unwrapped(targets)), count, before)
        except ValueError as error:
            unknown = str(error)
            continue
        n_cut += 1
        yield from parts
    if unknown and not n_cut and len(pairs) > 1:
        raise InputError(
            expected="batches that can be cut into samples, for a criterion that returns one number",
            got=f"batches with {unknown}, so that the weights of their means are not known",
            hint="Return the loss of each sample or (losses, weight), or pass count=f, where f(batch) gives the number "
            "of samples that the mean is taken over.",
        )


def _split(
    block: Block, count: int, before: tuple[Block, int] | None
) -> tuple[list[tuple[Block, Block, Block]], tuple[Block, int]]:
    """A block in two parts, and its first samples with those of the block before; with these samples."""
    found = []
    if count > 1:
        first, second = cut_by_label(block, count)
        found.append((_counted(*first), _counted(*second), _counted(block, count)))
    few = rows_of_pair(block, count, torch.arange(min(_FEW, count))), min(_FEW, count)
    if before is not None:
        with contextlib.suppress(ValueError):  # neighbours of different shapes
            found.append((_counted(*before), _counted(*few), _counted(*_joined_pair(before, few))))
    return found, few


def _joined_pair(first: tuple[Block, int], second: tuple[Block, int]) -> tuple[Block, int]:
    """Samples of two blocks as one.

    Raises:
        ValueError: If they do not fit together.
    """
    counts = first[1], second[1]
    outputs, targets = (joined([first[0][part], second[0][part]], counts) for part in (0, 1))
    return (outputs, targets), sum(counts)


def _counted(block: Block, count: int) -> Block:
    return block[0], Counted(block[1], count)


def _mixed(pairs: Sequence[Block]) -> list[Block]:
    """The data in a random order where they are one pair of tensors."""
    inputs, targets = pairs[0]
    if len(pairs) > 1 or not isinstance(inputs, Tensor) or not isinstance(targets, Tensor):
        return list(pairs)
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))
    return [(inputs[order.to(inputs.device)], targets[order.to(targets.device)])]
