"""A check that the samples of a batch do not meet in the model, as in statistics that it takes of the batch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from landscope._checks import for_float64
from landscope.errors import InputError
from landscope.risk.checkpointing import no_checkpointing
from landscope.risk.data import Block, call_model
from landscope.risk.graphs import GraphWhereNeeded
from landscope.risk.losses import SampleLosses
from landscope.risk.samples import Counted, count_of, rows_of
from landscope.seeded import kept_random_state

__all__ = ["check_samples_apart", "few_rows"]

_ROWS = 8
_RTOL_ELSEWHERE = 5e-3
"""Convolutions of an accelerator may have ten bits, and another algorithm for another number of samples."""


def few_rows(block: Block, start: int, stop: int) -> Block | None:
    """Some samples of a block; None if it cannot be cut."""
    inputs, targets = block
    count = _count(block)
    if count is None or not 0 <= start < stop <= count:
        return None
    try:
        rows = slice(start, stop)
        return rows_of(inputs, count, rows), rows_of(targets, count, rows)
    except ValueError:
        return None


def _count(block: Block) -> int | None:
    inputs, targets = block
    return targets.count if isinstance(targets, Counted) else count_of(inputs, targets)


@torch.no_grad()
def check_samples_apart(model: nn.Module, sample_losses: SampleLosses, pairs: Sequence[Block]) -> None:
    """Raise if the samples of a batch have other outputs, and other losses, than in two halves of it.

    A criterion of torch adds the losses of samples, so blocks of any size have the same risk, unless samples meet in
    the model. The check takes eight samples. Other outputs do no harm where the losses are the same, as where a model
    subtracts the largest logit of a batch.

    Args:
        model: A copy of the model.
        sample_losses: The criterion.
        pairs: Inputs and targets.

    Raises:
        InputError: If the losses differ.
    """
    largest = max(pairs, key=lambda block: _count(block) or 0)
    n = min(_ROWS, _count(largest) or 0)
    whole, *halves = (few_rows(largest, *ends) for ends in ((0, n), (0, n // 2), (n // 2, n)))
    known = [half for half in halves if half is not None]
    if whole is None or len(known) != 2:
        return
    try:
        with kept_random_state():
            difference = _difference(model, sample_losses, whole, known)
            if difference == 0.0 or _difference(model, sample_losses, whole, [whole]) > 0:  # it draws random numbers
                return
    except Exception:  # noqa: BLE001 - other checks say what the model or the criterion does not accept
        return
    raise InputError(
        expected="a model whose outputs for a sample do not depend on what else is in its batch",
        got=f"{type(model).__name__}, where the losses of a batch and of its halves differ by {difference:.2g}",
        hint=f"{_norms_in_words(model)}If the samples of a batch belong together, pass losses=f to ls.Study, or call "
        "EmpiricalRisk.from_closure(model, f, data): f(model, batch) sees each batch as it is, and "
        "risk.minibatches(None) takes these batches.",
    )


def _difference(model: nn.Module, sample_losses: SampleLosses, whole: Block, parts: Sequence[Block]) -> float:
    """By how much the losses of a batch differ from those of its parts; 0 if its outputs do not."""
    together, *apart = (_outputs(model, block) for block in (whole, *parts))
    if _differ(together, apart) == 0:
        return 0.0
    losses = GraphWhereNeeded(sample_losses)
    expected, *found = (
        losses(out, block[1])[0] for out, block in zip((together, *apart), (whole, *parts), strict=True)
    )
    if len(expected) != sum(map(len, found)):  # one number for a batch
        expected, found = expected.sum()[None], [torch.stack([part.sum() for part in found]).sum()[None]]
    return _differ(expected, found)


def _outputs(model: nn.Module, block: Block) -> Any:
    with no_checkpointing():
        return GraphWhereNeeded(lambda: call_model(model, copy.deepcopy(block[0])))()


def _differ(whole: Any, parts: Sequence[Any]) -> float:
    """By how much the values of parts differ from those of the whole; 0 if by rounding, 1 if they do not compare."""
    leaves = [[leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)] for value in (whole, *parts)]
    if not leaves[0] or len({len(found) for found in leaves}) != 1:
        return 1.0
    largest = 0.0
    for expected, *found in zip(*leaves, strict=True):
        together = torch.cat(found) if expected.ndim else found[0]
        if together.shape != expected.shape:
            return 1.0
        if not expected.is_floating_point():
            largest = max(largest, float(not torch.equal(together, expected)))
            continue
        eps = torch.finfo(expected.dtype).eps ** 0.5
        rtol = eps if expected.device.type == "cpu" else max(eps, _RTOL_ELSEWHERE)
        distance = float(torch.nan_to_num(for_float64(together - expected)).abs().max()) if expected.numel() else 0.0
        size = float(torch.nan_to_num(for_float64(expected)).abs().max()) if expected.numel() else 0.0
        largest = max(largest, distance if distance > rtol * size else 0.0)
    return largest


def _norms_in_words(model: nn.Module) -> str:
    """Which layers take the statistics of the batch."""
    names = [
        name or type(part).__name__
        for name, part in model.named_modules()
        if isinstance(part, nn.modules.batchnorm._NormBase)
        and not isinstance(part, nn.modules.instancenorm._InstanceNorm)
        and part.running_mean is None
    ]
    if not names:
        return ""
    return (
        f"These layers take the statistics of the batch, because they keep none: {', '.join(names)}. Make them with "
        "track_running_stats=True, and train anew. "
    )
