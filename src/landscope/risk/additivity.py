"""A check that the loss of a data set does not depend on how landscope cuts it into blocks."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscope._checks import explained, for_float64
from landscope.errors import InputError
from landscope.risk.checks import outputs_of
from landscope.risk.data import Block, cut_blocks
from landscope.risk.graphs import GraphWhereNeeded
from landscope.risk.hints import criterion_hint, described
from landscope.risk.losses import Unreduced
from landscope.risk.output_means import returns_mean, split_blocks
from landscope.risk.samples import joined, n_targets, rows_of, unwrapped
from landscope.risk.weighted_losses import total_weight
from landscope.seeded import kept_random_state

__all__ = ["check_additive"]

_BLOCKS = 8
_ROWS = 32
_FEW = 2
_RTOL = 1e-4


@torch.no_grad()
def check_additive(model: nn.Module, sample_losses: Unreduced, pairs: Sequence[Block], dtype: torch.dtype) -> None:
    """Raise if the losses of a custom criterion for a batch are not those of its samples, added up.

    The risk adds losses and weights over blocks. So both must be the same for a batch and for its parts together. They
    are not if the criterion returns a sum, leaves out ignored targets from a mean, broadcasts outputs against targets,
    or compares samples with each other. The check takes at most eight blocks of 32 samples, spread over the data, each
    whole and in two parts, and joins neighbours. Of a criterion that returns one number for a batch, it takes all
    samples: a class with a weight of its own may be rare. Batches that the user counted are never cut.
    """
    with kept_random_state():
        blocks = cut_blocks(list(pairs), _ROWS)
        places = torch.linspace(0, len(blocks) - 1, min(_BLOCKS, len(blocks))).long().tolist()
        few = [part for part in (_rows(blocks[place], 0, _ROWS) for place in places) if part is not None]
        _check_lengths(model, sample_losses, few)
        for parts in _cuts(few):
            _check_parts(functools.partial(outputs_of, model), sample_losses, *parts, dtype)
        if returns_mean(model, sample_losses, blocks):
            for parts in split_blocks(model, pairs):
                _check_parts(_as_they_are, sample_losses, *parts, dtype)


def _as_they_are(outputs: Any) -> Any:
    return outputs


def _check_lengths(model: nn.Module, sample_losses: Unreduced, blocks: Sequence[Block]) -> None:
    """Raise if one number stands for batches of sequences or images of different lengths."""
    several = [block for block in blocks if _count(block) > 1]
    if not several or len({_shapes(unwrapped(targets)) for _, targets in blocks}) == 1:
        return
    losses, weight = sample_losses(outputs_of(model, several[0][0]), several[0][1])
    if len(losses) == 1 and total_weight(weight) == _count(several[0]):
        raise InputError(
            expected="one loss for each sample, for targets of different lengths",
            got="one number for a batch, which may be the mean over samples or over their tokens or pixels",
            hint="Return one loss for each sample, or (losses, weight) with the number of targets as weight, or pass "
            "count=f, where f(batch) gives the number of samples or targets that the mean is taken over.",
        )


def _shapes(targets: Any) -> tuple[Any, ...]:
    """Shapes of tensors in targets without their first axis; nothing of what is one entry for each sample."""
    if isinstance(targets, Tensor):
        return tuple(targets.shape[1:])
    parts = targets.values() if isinstance(targets, Mapping) else targets if isinstance(targets, list | tuple) else ()
    return tuple(_shapes(part) for part in parts if isinstance(part, Tensor))


def _count(block: Block) -> int:
    count = n_targets(block[1])
    assert count is not None  # noqa: S101 - only counted blocks are cut
    return count


def _rows(block: Block, start: int, stop: int) -> Block | None:
    """Some samples of a block; None if it cannot be cut."""
    inputs, targets = block
    count = n_targets(targets)
    try:
        rows = slice(start, min(stop, count)) if count else None
        return None if count is None or rows is None else (rows_of(inputs, count, rows), rows_of(targets, count, rows))
    except ValueError:
        return None


def _cuts(blocks: Sequence[Block]) -> Iterator[tuple[Block, Block, Block]]:
    """Batches, each with two parts of it."""
    for block in blocks:
        count = _count(block)
        for first, both in ((count // 3, count), (_FEW, 2 * _FEW)):
            parts = _rows(block, 0, first), _rows(block, first, both), _rows(block, 0, both)
            if 0 < first < both <= count and all(part is not None for part in parts):
                yield parts  # ty: ignore[invalid-yield] - none of them is None
    for one, other in itertools.pairwise(blocks):
        pair = _rows(one, 0, _FEW), _rows(other, 0, _FEW)
        if pair[0] is None or pair[1] is None:
            continue
        counts = _count(pair[0]), _count(pair[1])
        try:
            yield pair[0], pair[1], tuple(joined([pair[0][part], pair[1][part]], counts) for part in (0, 1))
        except ValueError:
            continue


def _check_parts(
    outputs_for: Callable[[Any], Any],
    sample_losses: Unreduced,
    first: Block,
    second: Block,
    both: Block,
    dtype: torch.dtype,
) -> None:
    """Compare two parts with both together, where ``outputs_for`` gives the outputs of what the parts hold."""
    one, other, together = (_total(outputs_for, sample_losses, block) for block in (first, second, both))
    expected = tuple(a + b for a, b in zip(one[:2], other[:2], strict=True))
    # The value of one batch has the rounding of its dtype, relative to losses of order 1 before they nearly cancel.
    eps = torch.finfo(dtype).eps
    tolerance = max(_RTOL, 8 * eps) * (one[2] + other[2]) + 4 * eps * abs(together[1])
    same_weight = math.isclose(together[1], expected[1], rel_tol=max(_RTOL, 8 * eps))
    if (same_weight and abs(together[0] - expected[0]) <= tolerance) or (
        math.isnan(together[0]) and math.isnan(expected[0])
    ):
        return
    values = [total[0] / total[1] for total in (together, one, other) if total[1]]
    if len(values) == 3 and abs(values[0] - values[1] - values[2]) <= _RTOL * (abs(values[1]) + abs(values[2])):
        raise InputError(
            expected="a criterion that returns the mean over the samples of a batch, or one loss for each sample",
            got=f'a sum, as of reduction="sum": {values[0]:.4g}, from parts of {values[1]:.4g} and {values[2]:.4g}',
            hint='Use reduction="mean" or "none", or return (sum, number of samples). Directions, flatness and '
            "exponents are the same for a mean as for a sum.",
        )
    outputs = outputs_for(both[0])
    raise InputError(
        expected="a criterion that returns the mean over the samples of a batch, or one loss for each sample, whatever "
        "other samples are in the batch",
        got=f"{together[0] / together[1]:.4g} for a batch, whose parts have a mean of {expected[0] / expected[1]:.4g}",
        hint=_hint(outputs, unwrapped(both[1]))
        + "Return one loss for each sample, or (losses, weight): losses and the number of targets in them. If the loss "
        "compares samples with each other, pass losses=f, or call EmpiricalRisk.from_closure(model, f, data): f(model, "
        "batch) sees each batch as it is.",
    )


def _total(outputs_for: Callable[[Any], Any], sample_losses: Unreduced, block: Block) -> tuple[float, float, float]:
    """Sum of the losses, their weight, and the sum of their sizes."""
    outputs = outputs_for(block[0])
    with explained(
        f"a criterion for outputs {described(outputs)} with targets {described(unwrapped(block[1]))}",
        criterion_hint(unwrapped(block[1])),
    ):
        losses, weight = GraphWhereNeeded(sample_losses)(outputs, block[1])
    losses = for_float64(losses).double()
    return float(losses.sum()), total_weight(weight), float(losses.abs().sum())


def _hint(outputs: Any, targets: Any) -> str:
    """What is wrong, where the shapes show it."""
    if isinstance(outputs, Tensor) and isinstance(targets, Tensor) and outputs.shape == (*targets.shape, 1):
        return (
            f"Outputs {list(outputs.shape)} minus targets {list(targets.shape)} compares each output with each target: "
            "use outputs.squeeze(-1). "
        )
    return ""
