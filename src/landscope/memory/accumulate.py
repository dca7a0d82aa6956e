"""The penalty of a finished task, and the accumulated penalty of all tasks."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import torch

from landscope.memory.methods import Method
from landscope.memory.snapshot import TaskSnapshot
from landscope.penalties.blocks import PartPenalty, PenaltySum
from landscope.penalties.compression.factored import uncoupled_penalty
from landscope.penalties.compression.merged import merged_penalty
from landscope.penalties.compression.nearest import nearest_kronecker_penalty
from landscope.penalties.kronecker import KroneckerPenalty
from landscope.penalties.quadratic import QuadraticPenalty
from landscope.protocols import Penalty

__all__ = ["accumulate", "layerwise_penalty", "n_directions_of", "task_penalty"]


def n_directions_of(penalty: Penalty, asked: int) -> int:
    """Number of directions that a penalty holds: a mode without a flatness is left to the floor."""
    has_directions = isinstance(penalty, QuadraticPenalty) and penalty.directions is not None
    return len(penalty.stiffness) if has_directions else asked


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
        return PenaltySum(tuple(_accumulated_layer(*pair, rank) for pair in layers))
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
    """One quadratic penalty, where both have directions or both have none."""
    quadratic = isinstance(earlier, QuadraticPenalty) and isinstance(latest, QuadraticPenalty)
    if not quadratic or (earlier.directions is None) != (latest.directions is None):
        return None
    return merged_penalty([earlier, latest], None if latest.directions is None else rank)


_Layer = PartPenalty | KroneckerPenalty


def _same_layers(first: Penalty, second: Penalty, rank: int | None) -> list[tuple[_Layer, _Layer]]:
    """The parts of two sums in pairs, where every pair can be merged; otherwise an empty list."""
    if not (isinstance(first, PenaltySum) and isinstance(second, PenaltySum) and len(first.parts) == len(second.parts)):
        return []
    pairs = zip(first.parts, second.parts, strict=True)
    if rank is not None:  # a bounded memory may approximate a layer
        pairs = itertools.starmap(_of_one_type, pairs)
    kinds = PartPenalty if rank is None else _Layer
    alike = [
        (a, b)
        for a, b in pairs
        if isinstance(a, kinds) and isinstance(b, kinds) and type(a) is type(b) and torch.equal(a.columns, b.columns)
    ]
    return alike if len(alike) == len(first.parts) else []


def _of_one_type(first: Penalty, second: Penalty) -> tuple[Penalty, Penalty]:
    """Where one is a Kronecker product and the other a stiffness a weight, keep the stiffness a weight of both."""
    if isinstance(first, KroneckerPenalty) and isinstance(second, PartPenalty):
        return uncoupled_penalty(first), second
    if isinstance(first, PartPenalty) and isinstance(second, KroneckerPenalty):
        return first, uncoupled_penalty(second)
    return first, second


def _accumulated_layer(first: _Layer, second: _Layer, rank: int | None) -> _Layer:
    if isinstance(first, PartPenalty) and isinstance(second, PartPenalty):
        return dataclasses.replace(first, part=accumulate(first.part, second.part, rank))
    assert isinstance(first, KroneckerPenalty) and isinstance(second, KroneckerPenalty)  # noqa: PT018, S101 - _same_layers
    return nearest_kronecker_penalty(first, second)
