"""Penalties of several tasks: their sum, and one quadratic penalty that stands for all."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count, check_positive, check_vector
from landscope.errors import InputError
from landscope.penalties.kronecker import KroneckerPenalty
from landscope.penalties.quadratic import QuadraticPenalty
from landscope.penalties.state import penalty_from
from landscope.protocols import Penalty
from landscope.results import stamp

__all__ = ["PenaltySum", "load_penalty", "merged_penalty"]

_SUM = "penalty_sum"
_RESIDUAL = {torch.float32: 1e-6, torch.float64: 1e-11}
"""Residual of an implicit step over the length of its right-hand side."""
_NOTHING = 1e-9
"""Part of the largest stiffness below which a direction is free."""


@dataclasses.dataclass(frozen=True)
class PenaltySum:
    """The sum of any quadratic penalties: V(w) = sum_t V_t(w).

    It holds them all, so it grows with the number of tasks; :func:`merged_penalty` does not.

    Args:
        parts: The penalties.

    Raises:
        InputError: If there are none.

    Example:
        >>> import torch
        >>> parts = [QuadraticPenalty(anchor=torch.tensor([x]), stiffness=torch.ones(1)) for x in (0.0, 2.0)]
        >>> both = PenaltySum(tuple(parts))
        >>> both(torch.tensor([1.0])).item(), round(both.proximal_step(torch.tensor([5.0]), 1e6).item(), 3)
        (2.0, 1.0)
    """

    parts: tuple[Penalty, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise InputError(expected="at least one penalty", got="none", hint="Pass the penalties of earlier tasks.")
        kinds = {(part.dim, names) for part in self.parts for names in [part.parameters] if names}
        if len({part.dim for part in self.parts}) > 1 or len(kinds) > 1:
            raise InputError(
                expected="penalties on the same weights",
                got=", ".join(
                    sorted(f"{part.dim} of {'; '.join(part.parameters) or 'unnamed'}" for part in self.parts)
                ),
                hint="Use one selection of one model for all tasks.",
            )

    def __call__(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points"]:
        """V(w); differentiable by torch."""
        total = self.parts[0](w)
        for part in self.parts[1:]:
            total = total + part(w)
        return total

    def gradient(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points N"]:
        """The sum of the gradients."""
        total = self.parts[0].gradient(w)
        for part in self.parts[1:]:
            total = total + part.gradient(w)
        return total

    def hessian_vector_product(self, w: Float[Tensor, "*points N"], vector: Tensor) -> Float[Tensor, "*points N"]:
        """The Hessian, the same everywhere, times a vector."""
        total = self.parts[0].hessian_vector_product(w, vector)
        for part in self.parts[1:]:
            total = total + part.hessian_vector_product(w, vector)
        return total

    def proximal_step(self, w: Float[Tensor, "*points N"], step_size: float) -> Float[Tensor, "*points N"]:
        r"""The implicit step of the sum, :math:`u + \alpha \nabla V(u) = w`, by conjugate gradients.

        Penalties on different weights need none: their own steps after one another are the answer. What single
        precision cannot solve is solved in double.

        Args:
            w: Where the step begins.
            step_size: alpha, above 0.

        Returns:
            Where it ends, to a residual of 1e-6 of the right-hand side in float32.

        Raises:
            InputError: If the shape or device does not fit, or the step size is not positive.
        """
        check_positive("step_size", step_size)
        points = check_vector("w", w, dim=self.dim).reshape(-1, self.dim)
        return torch.stack([self._step(point, step_size) for point in points]).reshape(w.shape)

    def _step(self, w: Tensor, step_size: float) -> Tensor:
        working = torch.promote_types(w.dtype, torch.float32)
        start, rtol = w.to(working), _RESIDUAL[working]
        guess = start
        for part in self.parts:
            guess = part.proximal_step(guess, step_size).to(working)

        def system(x: Tensor) -> Tensor:
            return x + step_size * self.hessian_vector_product(start, x).to(working)

        # In u - w the right-hand side is the slope at w: no digits are lost to a far anchor.
        right = -step_size * self.gradient(start).to(working)
        moved, solved = _conjugate_gradients(system, right, guess - start, rtol)
        if solved or working == torch.float64:
            return (start + moved).to(w.dtype)
        return self._double.proximal_step(w.double(), step_size).to(w.dtype)

    @functools.cached_property
    def _double(self) -> PenaltySum:
        return self.to(dtype=torch.float64)

    @property
    def dim(self) -> int:
        """Length N of w."""
        return self.parts[0].dim

    def state_dict(self) -> dict[str, Any]:
        """The fields of all parts, for ``torch.save``; :func:`load_penalty` makes a penalty of them."""
        return {"kind": _SUM, "parts": [part.state_dict() for part in self.parts]}

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> PenaltySum:
        """The same on another device or in another dtype."""
        return PenaltySum(tuple(part.to(device, dtype) for part in self.parts))

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters that w is made of, where they are known."""
        return next((part.parameters for part in self.parts if part.parameters), ())

    @property
    def n_stored(self) -> int:
        """Numbers it holds."""
        return sum(part.n_stored for part in self.parts)


def load_penalty(state: Mapping[str, Any]) -> Penalty:
    """The penalty that ``penalty.state_dict()`` was of.

    Args:
        state: The mapping, as it came or read by ``torch.load``.

    Returns:
        The penalty, on the device of the tensors.

    Raises:
        StorageError: If it is the state of no penalty.

    Example:
        >>> import torch
        >>> penalty = QuadraticPenalty(anchor=torch.ones(2), stiffness=torch.ones(2))
        >>> load_penalty(penalty.state_dict())(torch.zeros(2)).item()
        2.0
    """
    if state.get("kind") == _SUM:
        return PenaltySum(tuple(load_penalty(part) for part in state.get("parts", ())))
    return penalty_from(state, (QuadraticPenalty, KroneckerPenalty))


def _conjugate_gradients(
    system: Callable[[Tensor], Tensor], right: Tensor, x: Tensor, rtol: float
) -> tuple[Tensor, bool]:
    """Solve a symmetric positive system from a guess to a residual, or as far as rounding lets 4 N steps go."""
    residual = right - system(x)
    direction, square = residual, float(residual @ residual)
    tolerance = rtol**2 * float(right @ right)
    for _ in range(4 * len(right)):
        if square <= tolerance:
            return x, True
        image = system(direction)
        step = square / float(direction @ image)
        x = x + step * direction
        residual = residual - step * image
        square, before = float(residual @ residual), square
        direction = residual + square / before * direction
        if not math.isfinite(square):
            break
    return x, square <= tolerance


def merged_penalty(penalties: Sequence[QuadraticPenalty], rank: int | None = None) -> QuadraticPenalty:
    r"""One penalty equal to a sum of several, or, of a smaller rank, as near to it as that rank allows.

    The sum of quadratic forms :math:`\sum_t \lambda_t (w - w_t)^\top A_t (w - w_t)` is one quadratic form about its own
    minimum, plus a constant. Of low rank plus isotropic it is again one; beyond ``rank``, the directions whose
    stiffness is nearest to the floor are given up, and the floor becomes the mean stiffness of all that are not kept.
    Merging after every task keeps (rank + 1) N numbers however many tasks there are.

    Args:
        penalties: All with directions, or all without.
        rank: Directions to keep; all by default, and then the sum is exact.

    Returns:
        The penalty, of strength 1. Its provenance says ``largest_error``: how far the stiffness of any direction is
        from that of the sum.

    Raises:
        InputError: If there are none, their weights differ, or some have directions and others do not.

    Example:
        >>> import torch
        >>> parts = [QuadraticPenalty(anchor=torch.tensor([x]), stiffness=torch.ones(1)) for x in (0.0, 2.0)]
        >>> one = merged_penalty(parts)
        >>> one.anchor.tolist(), one.offset
        ([1.0], 2.0)
    """
    if not penalties:
        raise InputError(expected="at least one penalty", got="none", hint="Pass the penalties of earlier tasks.")
    _check_alike(penalties)
    if rank is not None:
        check_count("rank", rank, minimum=0)
    if penalties[0].directions is None:
        return _merged_diagonals(penalties)
    return _merged_low_ranks(penalties, rank)


def _check_alike(penalties: Sequence[QuadraticPenalty]) -> None:
    kinds = {penalty.directions is None for penalty in penalties}
    spaces = {(len(p.anchor), p.anchor.device, p.anchor.dtype) for p in penalties}
    names = {p.parameters for p in penalties if p.parameters}
    if len(kinds) > 1:
        raise InputError(
            expected="penalties that all have directions, or all have none",
            got="some of each",
            hint="Add them up by PenaltySum.",
        )
    if len(spaces) > 1 or len(names) > 1:
        raise InputError(
            expected="penalties on the same weights",
            got="; ".join(sorted(f"{n} of {dtype} on {device}" for n, device, dtype in spaces)),
            hint="Use one selection of one model for all tasks.",
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
    """Orthonormal directions that span all, and by how much each is stiffer than the floors together."""
    rows = torch.cat([_directions(p) for p in penalties])
    basis = torch.linalg.qr(rows.T).Q
    within = torch.zeros(basis.shape[1], basis.shape[1], dtype=torch.float64, device=rows.device)
    for p in penalties:
        along = _directions(p) @ basis
        within += p.strength * along.T @ ((p.stiffness.double() - p.floor)[:, None] * along)
    excess, vectors = torch.linalg.eigh(within)
    return (basis @ vectors).T, excess


def _least(penalties: Sequence[QuadraticPenalty], directions: Tensor, excess: Tensor, floor: float) -> Tensor:
    """Where the sum is least, as near to the last anchor as that allows."""
    last = penalties[-1].anchor.double()
    pull = torch.zeros_like(last)
    for p in penalties:
        z = p.anchor.double() - last
        own = _directions(p)
        pull += p.strength * (p.floor * z + ((p.stiffness.double() - p.floor) * (own @ z)) @ own)
    along = directions @ pull
    total = floor + excess
    held = total > _NOTHING * float(total.max()) if len(total) else total > 0
    inverse = torch.where(held, 1 / torch.where(held, total, 1.0), 0.0)
    rest = pull - along @ directions
    return last + (inverse * along) @ directions + (rest / floor if floor else 0.0)


def _directions(penalty: QuadraticPenalty) -> Tensor:
    assert penalty.directions is not None  # noqa: S101 - asked for before
    return penalty.directions.double()


def _about(
    anchor: Tensor,
    penalties: Sequence[QuadraticPenalty],
    directions: Tensor | None,
    stiffness: Tensor,
    floor: float,
    error: float,
) -> QuadraticPenalty:
    """The merged penalty in the dtype of its parts, its offset the sum at its anchor."""
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
