"""The penalty of a finished task, and of all tasks so far."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import torch

from landscope.memory.methods import METHODS, with_strength
from landscope.memory.snapshot import FinishedTask
from landscope.penalties.compression.factored import uncoupled_penalty
from landscope.penalties.compression.merged import merged_penalty
from landscope.penalties.compression.nearest import nearest_kronecker_penalty
from landscope.penalties.kronecker import KroneckerPenalty
from landscope.penalties.part import PartPenalty
from landscope.penalties.quadratic import QuadraticPenalty
from landscope.penalties.sums import PenaltySum
from landscope.protocols import Penalty

__all__ = ["combined_penalty", "directions_in", "held_directions", "own_penalty", "penalty_by_layer"]


def held_directions(finished: FinishedTask, method: str, n_modes: int) -> int:
    """How many directions a penalty of this task holds: as many as were asked for, or as the weights moved along."""
    count = n_modes if METHODS[method].takes_modes else 0
    return min(count, finished.modes.n_moving) if METHODS[method].measures else count


def directions_in(penalty: Penalty, asked: int) -> int:
    """How many of the directions that were asked for a penalty has: those without a flatness are left to its floor."""
    has_directions = isinstance(penalty, QuadraticPenalty) and penalty.directions is not None
    return len(penalty.stiffness) if has_directions else asked


def own_penalty(finished: FinishedTask, method: str, strength: float, n_modes: int) -> Penalty:
    """The penalty of one task alone."""
    return with_strength(METHODS[method].build(finished, held_directions(finished, method, n_modes)), strength)


def penalty_by_layer(finished: FinishedTask, method: str, strength: float, n_modes: int) -> Penalty:
    """The sum of a penalty for each layer, along modes of its own.

    A direction of one layer is flat while the others are at rest, and not where they move: where methods have a floor,
    that of the stiffest layer holds all directions of all layers.
    """
    layers = finished.layers()
    found = _levelled([own_penalty(layer, method, strength, n_modes) for layer in layers])
    parts = [
        PartPenalty(
            own, layer.columns.to(finished.w1.device), dim=len(finished.w1), parameters=finished.space.names
        )
        for own, layer in zip(found, layers, strict=True)
    ]  # fmt: skip
    return PenaltySum(tuple(parts))


def _levelled(penalties: Sequence[Penalty]) -> Sequence[Penalty]:
    floor = max((one.floor for one in penalties if isinstance(one, QuadraticPenalty)), default=0.0)
    return [
        dataclasses.replace(one, stiffness=one.stiffness.clamp(min=floor), floor=floor)
        if isinstance(one, QuadraticPenalty) and floor > 0
        else one
        for one in penalties
    ]


def combined_penalty(earlier: Penalty | None, own: Penalty, rank: int | None = None) -> Penalty:
    """The sum of the penalties of earlier tasks and of one more.

    One quadratic penalty where both are of one kind, of at most ``rank`` directions; with a rank, one Kronecker product
    a layer where both are; otherwise their sum.
    """
    if earlier is None:
        return own if rank is None else _bounded(own, rank)
    if layers := _same_layers(earlier, own, rank):
        return PenaltySum(tuple(_combined_layer(*pair, rank) for pair in layers))
    if (one := _combined_directions(earlier, own, rank)) is not None:
        return one
    parts = (*earlier.parts, own) if isinstance(earlier, PenaltySum) else (earlier, own)
    return PenaltySum(parts)


def _bounded(penalty: Penalty, rank: int) -> Penalty:
    """One task alone, of at most so many directions."""
    if isinstance(penalty, PenaltySum):
        return PenaltySum(tuple(_bounded(part, rank) for part in penalty.parts))
    if isinstance(penalty, PartPenalty):
        return dataclasses.replace(penalty, part=_bounded(penalty.part, rank))
    if isinstance(penalty, QuadraticPenalty) and penalty.directions is not None and len(penalty.stiffness) > rank:
        return merged_penalty([penalty], rank)
    return penalty


def _combined_directions(earlier: Penalty, own: Penalty, rank: int | None) -> Penalty | None:
    quadratic = isinstance(earlier, QuadraticPenalty) and isinstance(own, QuadraticPenalty)
    if not quadratic or (earlier.directions is None) != (own.directions is None):
        return None
    return merged_penalty([earlier, own], None if own.directions is None else rank)


_Layer = PartPenalty | KroneckerPenalty


def _same_layers(first: Penalty, second: Penalty, rank: int | None) -> list[tuple[_Layer, _Layer]]:
    """The parts of two sums, pair by pair, where all can become one; nothing otherwise."""
    if not (isinstance(first, PenaltySum) and isinstance(second, PenaltySum) and len(first.parts) == len(second.parts)):
        return []
    pairs = zip(first.parts, second.parts, strict=True)
    if rank is not None:  # where that is asked for, layers may become what they nearly are
        pairs = itertools.starmap(_of_one_kind, pairs)
    kinds = PartPenalty if rank is None else _Layer
    alike = [
        (a, b)
        for a, b in pairs
        if isinstance(a, kinds) and isinstance(b, kinds) and type(a) is type(b) and torch.equal(a.columns, b.columns)
    ]
    return alike if len(alike) == len(first.parts) else []


def _of_one_kind(first: Penalty, second: Penalty) -> tuple[Penalty, Penalty]:
    """A product of one task where the other has stiffnesses of single weights: these alone are what both can tell."""
    if isinstance(first, KroneckerPenalty) and isinstance(second, PartPenalty):
        return uncoupled_penalty(first), second
    if isinstance(first, PartPenalty) and isinstance(second, KroneckerPenalty):
        return first, uncoupled_penalty(second)
    return first, second


def _combined_layer(first: _Layer, second: _Layer, rank: int | None) -> _Layer:
    if isinstance(first, PartPenalty) and isinstance(second, PartPenalty):
        return dataclasses.replace(first, part=combined_penalty(first.part, second.part, rank))
    assert isinstance(first, KroneckerPenalty) and isinstance(second, KroneckerPenalty)  # noqa: PT018, S101 - alike
    return nearest_kronecker_penalty(first, second)
