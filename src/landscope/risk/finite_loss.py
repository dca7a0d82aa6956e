"""A check that the loss of the data is a number."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from landscope._checks import for_float64
from landscope.errors import InputError, NonFiniteError
from landscope.risk.evaluation import BlockLosses, evaluated
from landscope.risk.samples import Counted
from landscope.risk.weighted_losses import total_weight

__all__ = ["check_loss_is_a_number"]


@torch.no_grad()
def check_loss_is_a_number(
    blocks: BlockLosses, parameters: dict[str, Tensor], first: tuple[Tensor, Tensor | float]
) -> None:
    """Raise if the loss of the data is NaN at these weights; an infinite loss may be finite at others.

    Each block with NaN in its data is evaluated. Others are, as long as all targets are ignored.

    Args:
        blocks: The losses.
        parameters: The weights.
        first: Losses and weight of the first block there.

    Raises:
        InputError: If all targets are ignored.
        NonFiniteError: If the loss is NaN.
    """
    is_counted = False
    for block in range(blocks.n_blocks):
        n_bad = _rows_with_nan(blocks.blocks[block])
        if is_counted and not n_bad:
            continue
        with evaluated(block, blocks.n_blocks):
            losses, weight = blocks.losses(parameters, block) if block else first
        is_counted = is_counted or total_weight(weight) != 0
        if math.isnan(float(for_float64(losses).sum(dtype=torch.float64))):
            raise NonFiniteError(
                expected="a loss that is a number at the weights of the model",
                got=f"NaN, from data with NaN in {n_bad} rows of a tensor" if n_bad else "NaN",
                hint="Leave out or replace the samples with NaN." if n_bad else
                "Check whether the weights contain NaN, and whether the loss divides by zero or takes the logarithm of "
                "zero. A mean over no counted targets is NaN too.",
            )  # fmt: skip
    if not is_counted:
        raise InputError(
            expected="data with at least one counted target", got="only ignored targets or weights of zero",
            hint="Check the labels: those equal to ignore_index, which is -100 by default, do not count.",
        )  # fmt: skip


def _rows_with_nan(batch: Any) -> int:
    """The largest number of rows with NaN in a tensor of a batch."""
    return max((_with_nan(tensor) for tensor in _tensors(batch)), default=0)


def _tensors(batch: Any) -> Iterator[Tensor]:
    for leaf in tree_leaves(batch):
        if isinstance(leaf, Counted):
            yield from _tensors(leaf.targets)
        elif isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.layout is torch.strided:
            yield leaf


def _with_nan(values: Tensor) -> int:
    if not bool(values.sum().isnan()):  # a sum is fast; infinities of both signs make it NaN too
        return 0
    rows = values.isnan().reshape(len(values), -1) if values.ndim else values.isnan().reshape(1, 1)
    return int(rows.any(dim=1).sum())
