"""One quadratic penalty in place of those of many tasks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from landscope._checks import check_count, check_kind
from landscope.errors import InputError
from landscope.penalties.blocks import PenaltySum
from landscope.penalties.quadratic import QuadraticPenalty
from landscope.protocols import Penalty
from landscope.results import stamp

__all__ = ["merged_penalty"]

_NOTHING = 1e-9
"""Share of the largest stiffness below which a direction counts as free."""


def merged_penalty(penalties: Sequence[Penalty], rank: int | None = None) -> QuadraticPenalty:
    r"""Merge several penalties into one that equals their sum, or approximates it with a limited rank.

    The sum of quadratic forms :math:`\sum_t \lambda_t (w - w_t)^\top A_t (w - w_t)` is one quadratic form about its own
    minimum, plus a constant. If all have low rank plus a floor, so has the sum. Beyond ``rank``, the directions whose
    stiffness is nearest to the floor are dropped, and the floor becomes the mean stiffness of all directions that are
    not kept; this minimises the sum of squares of the difference. Merging after every task stores (rank + 1) N values
    for any number of tasks.

    Args:
        penalties: Quadratic penalties, all with directions or all without, or sums of such penalties.
        rank: Number of directions to keep; all by default, which makes the result exact.

    Returns:
        The penalty, of strength 1. Its ``provenance["settings"]["largest_error"]`` is the largest difference between
        its stiffness and that of the sum, over all directions.

    Raises:
        InputError: If there are no penalties, their weights differ, only some have directions, or one is a Kronecker
            product.

    Example:
        >>> import torch
        >>> parts = [QuadraticPenalty(anchor=torch.tensor([x]), stiffness=torch.ones(1)) for x in (0.0, 2.0)]
        >>> one = merged_penalty(parts)
        >>> one.anchor.tolist(), one.offset
        ([1.0], 2.0)
    """
    check_kind("penalties", penalties, Sequence, hint="Pass a list of penalties.")
    if not penalties:
        raise InputError(expected="at least one penalty", got="none", hint="Pass the penalties of earlier tasks.")
    quadratic = [part for penalty in penalties for part in _quadratic_parts(penalty)]
    _check_alike(quadratic)
    if rank is not None:
        check_count("rank", rank, minimum=0)
    if quadratic[0].directions is None:
        if rank is not None:
            raise InputError(
                expected="no rank where every weight has a stiffness of its own", got=f"{rank}",
                hint="Leave rank out: such penalties merge exactly into 2 N values.",
            )  # fmt: skip
        return _merged_diagonals(quadratic)
    return _merged_low_ranks(quadratic, rank)


def _quadratic_parts(penalty: Penalty) -> list[QuadraticPenalty]:
    """The quadratic penalties in a penalty."""
    if isinstance(penalty, PenaltySum):
        return [quadratic for part in penalty.parts for quadratic in _quadratic_parts(part)]
    if isinstance(penalty, QuadraticPenalty):
        return [penalty]
    raise InputError(
        expected="quadratic penalties, or sums of them", got=type(penalty).__name__,
        hint="Merge Kronecker products a layer with nearest_kronecker_penalty, or add penalties with PenaltySum.",
    )  # fmt: skip


def _check_alike(penalties: Sequence[QuadraticPenalty]) -> None:
    kinds = {penalty.directions is None for penalty in penalties}
    spaces = {(len(p.anchor), p.anchor.device, p.anchor.dtype) for p in penalties}
    names = {p.parameters for p in penalties if p.parameters}
    if len(kinds) > 1:
        raise InputError(
            expected="penalties that all have directions, or all have none",
            got="some of each",
            hint="Add them with PenaltySum.",
        )
    if len(spaces) > 1 or len(names) > 1:
        raise InputError(
            expected="penalties on the same weights",
            got="; ".join(
                [*sorted(f"{n} of {dtype} on {device}" for n, device, dtype in spaces), *map(", ".join, names)]
            ),
            hint="Use the same selection of the same model for all tasks.",
        )


def _merged_diagonals(penalties: Sequence[QuadraticPenalty]) -> QuadraticPenalty:
    stiffness = [p.strength * p.stiffness.double() for p in penalties]
    total = torch.stack(stiffness).sum(dim=0)
    last = penalties[-1].anchor.double()
    pull = torch.stack([k * (p.anchor.double() - last) for k, p in zip(stiffness, penalties, strict=True)]).sum(dim=0)
    anchor = last + torch.where(total > 0, pull / total.clamp(min=torch.finfo(total.dtype).tiny), 0.0)
    return _about(anchor, penalties, None, total, 0.0, 0.0)


def _merged_low_ranks(penalties: Sequence[QuadraticPenalty], rank: int | None) -> QuadraticPenalty:
    floor = sum(p.strength * p.floor for p in penalties)
    directions, excess = _extra_stiffness(penalties)
    anchor = _least(penalties, directions, excess, floor)
    order = torch.argsort(excess.abs(), descending=True)
    kept, dropped = (order, order[:0]) if rank is None else (order[:rank], order[rank:])
    free = len(anchor) - len(kept)
    shift = float(excess[dropped].sum()) / free if free else 0.0
    errors = [abs(shift), *(excess[dropped] - shift).abs().tolist()] if len(dropped) else [0.0]
    stiffness = (floor + excess[kept]).clamp(min=0)  # rounding may reach below
    return _about(anchor, penalties, directions[kept], stiffness, max(0.0, floor + shift), max(errors))


def _extra_stiffness(penalties: Sequence[QuadraticPenalty]) -> tuple[Tensor, Tensor]:
    """Orthonormal directions that span all penalties, and the stiffness of each in excess of the summed floors."""
    rows = torch.cat([_directions(p) for p in penalties])
    basis = torch.linalg.qr(rows.T).Q
    within = torch.zeros(basis.shape[1], basis.shape[1], dtype=torch.float64, device=rows.device)
    for p in penalties:
        along = _directions(p) @ basis
        within += p.strength * along.T @ ((p.stiffness.double() - p.floor)[:, None] * along)
    excess, vectors = torch.linalg.eigh(within)
    return (basis @ vectors).T, excess


def _least(penalties: Sequence[QuadraticPenalty], directions: Tensor, excess: Tensor, floor: float) -> Tensor:
    """The minimum of the sum that is nearest to the last anchor."""
    last = penalties[-1].anchor.double()
    pull = torch.zeros_like(last)
    for p in penalties:
        z = p.anchor.double() - last
        rows = _directions(p)
        pull += p.strength * (p.floor * z + ((p.stiffness.double() - p.floor) * (rows @ z)) @ rows)
    along = directions @ pull
    total = floor + excess
    held = total > _NOTHING * float(total.max()) if len(total) else total > 0
    inverse = torch.where(held, 1 / torch.where(held, total, 1.0), 0.0)
    rest = pull - along @ directions
    return last + (inverse * along) @ directions + (rest / floor if floor else 0.0)


def _directions(penalty: QuadraticPenalty) -> Tensor:
    assert penalty.directions is not None  # noqa: S101 - merged_penalty checked it
    return penalty.directions.double()


def _about(
    anchor: Tensor,
    penalties: Sequence[QuadraticPenalty],
    directions: Tensor | None,
    stiffness: Tensor,
    floor: float,
    error: float,
) -> QuadraticPenalty:
    """The merged penalty in the dtype of the first penalty; the offset is the sum at the anchor."""
    like = penalties[0].anchor
    anchor = anchor.to(like)
    return QuadraticPenalty(
        anchor=anchor,
        directions=None if directions is None else directions.to(like),
        stiffness=stiffness.to(like),
        floor=floor,
        offset=sum(float(p.to(dtype=torch.float64)(anchor.double())) for p in penalties),
        parameters=next((p.parameters for p in penalties if p.parameters), ()),
        provenance=stamp(penalties=len(penalties), largest_error=error),
    )
