"""The penalty of a finished task, and the accumulated penalty of all tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from landscope.memory.methods.snapshot import TaskSnapshot
from landscope.penalties.blocks import PartPenalty, PenaltySum
from landscope.penalties.compression.factored import uncoupled_penalty
from landscope.penalties.compression.merged import merged_penalty
from landscope.penalties.compression.nearest import nearest_kronecker_penalty
from landscope.penalties.kronecker import KroneckerPenalty
from landscope.penalties.low_rank import LowRankKroneckerPenalty
from landscope.penalties.quadratic import QuadraticPenalty
from landscope.protocols import Penalty

if TYPE_CHECKING:
    from landscope.memory.methods.method import Method

__all__ = ["accumulate", "layerwise_penalty", "task_penalty"]

_PRODUCTS = (KroneckerPenalty, LowRankKroneckerPenalty)


def task_penalty(task: TaskSnapshot, method: Method, strength: float, n_modes: int) -> Penalty:
    """The penalty of one task alone."""
    return method.penalty(task, method.n_directions(task, n_modes)).with_strength(strength)


def layerwise_penalty(task: TaskSnapshot, method: Method, strength: float, n_modes: int) -> Penalty:
    """The sum of one penalty a layer, along the modes of that layer.

    A direction of one layer is flat while the other layers are at rest, and not where they move. So where a method
    has a floor, the floor of the stiffest layer holds all directions of all layers.
    """
    layers = task.layers()
    penalties = _with_stiffest_floor([task_penalty(layer, method, strength, n_modes) for layer in layers])
    parts = [
        PartPenalty(penalty, layer.columns.to(task.w1.device), dim=len(task.w1), parameters=task.space.names)
        for penalty, layer in zip(penalties, layers, strict=True)
    ]
    return PenaltySum(tuple(parts))


def _with_stiffest_floor(penalties: Sequence[Penalty]) -> Sequence[Penalty]:
    floor = max((penalty.floor for penalty in penalties if isinstance(penalty, QuadraticPenalty)), default=0.0)
    return [
        dataclasses.replace(penalty, stiffness=penalty.stiffness.clamp(min=floor), floor=floor)
        if isinstance(penalty, QuadraticPenalty) and floor > 0
        else penalty
        for penalty in penalties
    ]


def accumulate(earlier: Penalty | None, latest: Penalty, rank: int | None = None) -> Penalty:
    """The sum of the penalty of all earlier tasks and that of the latest task.

    It is one quadratic penalty where both are of one kind, of at most ``rank`` directions; with a rank, one Kronecker
    product a layer where both are Kronecker products; otherwise a :class:`PenaltySum`.
    """
    if earlier is None:
        return latest if rank is None else _bounded(latest, rank)
    if layers := _same_layers(earlier, latest, rank):
        return PenaltySum(tuple(dataclasses.replace(a, part=accumulate(a.part, b.part, rank)) for a, b in layers))
    if (merged := _merged(earlier, latest, rank)) is not None:
        return merged
    parts = (*earlier.parts, latest) if isinstance(earlier, PenaltySum) else (earlier, latest)
    return PenaltySum(parts)


def _bounded(penalty: Penalty, rank: int) -> Penalty:
    """The penalty of one task, with at most ``rank`` directions."""
    if isinstance(penalty, PenaltySum):
        return PenaltySum(tuple(_bounded(part, rank) for part in penalty.parts))
    if isinstance(penalty, PartPenalty):
        return dataclasses.replace(penalty, part=_bounded(penalty.part, rank))
    if isinstance(penalty, QuadraticPenalty) and penalty.directions is not None and len(penalty.stiffness) > rank:
        return merged_penalty([penalty], rank)
    return penalty


def _merged(earlier: Penalty, latest: Penalty, rank: int | None) -> Penalty | None:
    """One penalty in place of both, exact or as near as a bounded memory allows; None where they stay apart."""
    if rank is not None and isinstance(earlier, _PRODUCTS) and isinstance(latest, _PRODUCTS):
        return nearest_kronecker_penalty(earlier, latest)
    pair = [earlier, latest]
    if rank is not None:  # a layer that one task holds weight by weight is held so for all
        pair = [uncoupled_penalty(p) if isinstance(p, _PRODUCTS) else p for p in pair]
    quadratic = [penalty for penalty in pair if isinstance(penalty, QuadraticPenalty)]
    with_directions = {penalty.directions is not None for penalty in quadratic}
    if len(quadratic) < 2 or len(with_directions) == 2:
        return None
    return merged_penalty(quadratic, rank if with_directions == {True} else None)


def _same_layers(first: Penalty, second: Penalty, rank: int | None) -> list[tuple[PartPenalty, PartPenalty]]:
    """The parts of two sums in pairs, where every pair can be merged; otherwise an empty list."""
    if not (isinstance(first, PenaltySum) and isinstance(second, PenaltySum) and len(first.parts) == len(second.parts)):
        return []
    pairs = [
        (a, b)
        for a, b in zip(first.parts, second.parts, strict=True)
        if isinstance(a, PartPenalty) and isinstance(b, PartPenalty) and torch.equal(a.columns, b.columns)
    ]
    products = any(isinstance(part.part, _PRODUCTS) for pair in pairs for part in pair)
    return [] if len(pairs) < len(first.parts) or (products and rank is None) else pairs
