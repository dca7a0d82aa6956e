"""One Kronecker product in place of those of two tasks."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_kind
from landscope.errors import InputError
from landscope.penalties.kronecker import KroneckerPenalty
from landscope.penalties.low_rank import LowRankKroneckerPenalty, low_rank_penalty
from landscope.results import stamp

__all__ = ["nearest_kronecker_penalty"]

_NOTHING = 1e-12
"""Share of the stiffness below which a direction counts as free, in float64."""


_Product = KroneckerPenalty | LowRankKroneckerPenalty


def nearest_kronecker_penalty(first: _Product, second: _Product) -> _Product:
    r"""The Kronecker product nearest to a sum of two on the same layer, so that many tasks need the memory of one.

    The new anchor minimises the sum, :math:`\sum_t \lambda_t G_t (W - W_t) A_t = 0`; directions that neither penalty
    holds take the anchor of the second. The stiffness is the Kronecker product nearest to
    :math:`\sum_t \lambda_t G_t \otimes A_t` in the sum of squares of the difference (Van Loan and Pitsianis, 1993): G
    is a sum of the G_t and A a sum of the A_t, with weights of at least 0. It is exact if the G_t, or the A_t, are
    proportional to each other. Of two penalties of low rank, A is then cut to the larger rank by
    :func:`landscope.penalties.low_rank_penalty`.

    Args:
        first: Penalty of an earlier task on a layer.
        second: Penalty of a later task on the same layer.

    Returns:
        The penalty, of strength 1, without the constant of the sum. Its ``provenance["settings"]["relative_error"]``
        is the norm of the difference of stiffness over the norm of the stiffness, before A is cut.

    Raises:
        InputError: If the penalties are on different weights.

    Example:
        >>> import torch
        >>> def penalty_at(x):
        ...     return KroneckerPenalty(anchor=torch.full((1, 2), x), inputs=torch.eye(2), outputs=torch.eye(1))
        >>> both = nearest_kronecker_penalty(penalty_at(0.0), penalty_at(2.0))
        >>> both.anchor.tolist(), both(torch.ones(2)).item(), round(both(torch.zeros(2)).item(), 4)
        ([[1.0, 1.0]], 0.0, 4.0)
    """
    pair = (first, second)
    for penalty in pair:
        if not isinstance(penalty, LowRankKroneckerPenalty):
            hint = "Merge other penalties with ls.penalties.merged_penalty."
            check_kind("a penalty", penalty, KroneckerPenalty, hint=hint)
    if first.anchor.shape != second.anchor.shape:
        raise InputError(
            expected="two penalties on the same weights of one layer",
            got=f"matrices of shape {tuple(first.anchor.shape)} and {tuple(second.anchor.shape)}",
            hint="Merge layer by layer.",
        )
    outputs, inputs, error = _nearest(pair)
    like = second.anchor
    anchor = like.clone() if torch.equal(first.anchor, like) else _least(*pair).to(like)
    merged = KroneckerPenalty(
        anchor=anchor,
        inputs=inputs.to(like),
        outputs=outputs.to(like),
        provenance=stamp(relative_error=error),
    )
    ranks = [len(penalty.values) for penalty in pair if isinstance(penalty, LowRankKroneckerPenalty)]
    return low_rank_penalty(merged, max(ranks)) if len(ranks) == len(pair) else merged


def _nearest(pair: tuple[_Product, _Product]) -> tuple[Tensor, Tensor, float]:
    r"""The leading singular pair of :math:`\sum_t vec(G_t) vec(A_t)^\top`, within the span of the two."""
    g = torch.stack([penalty.strength * penalty.outputs.double() for penalty in pair])
    a = torch.stack([penalty.inputs.double() for penalty in pair])
    among_g, among_a = (torch.einsum("tij, uij -> tu", factor, factor) for factor in (g, a))
    square = float((among_g * among_a).sum())
    if square == 0:
        return g[0], a[0], 0.0
    values, vectors = torch.linalg.eig(among_a @ among_g)  # real, and the leading vector of one sign
    weights = vectors[:, values.real.argmax()].real.abs()
    outputs = torch.einsum("t, tij -> ij", weights, g)
    length = float(outputs.square().sum())
    inputs = torch.einsum("t, tij -> ij", among_g @ weights / length, a)
    rest = square - length * float(inputs.square().sum())
    return outputs, inputs, (max(0.0, rest) / square) ** 0.5


def _least(first: _Product, second: _Product) -> Float[Tensor, "m n"]:
    """The minimum of the sum, in coordinates in which both output and both input factors are diagonal."""
    u, from_u, g, h = _common(first.strength * first.outputs.double(), second.strength * second.outputs.double())
    v, from_v, a, b = _common(first.inputs.double(), second.inputs.double())
    last = second.anchor.double()
    pulled = g[:, None] * a
    total = pulled + h[:, None] * b
    held = total > _NOTHING * float(total.sum())
    share = torch.where(held, pulled / torch.where(held, total, 1.0), 0.0)
    apart = from_u @ (first.anchor.double() - last) @ from_v.T
    return last + u @ (share * apart) @ v.T


def _common(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Columns u with u' (first) u and u' (second) u diagonal, the inverse of u, and both diagonals.

    Directions in which both matrices vanish are left out.
    """
    sizes = [float(matrix.trace()) or 1.0 for matrix in (first, second)]
    scaled = [matrix / size for matrix, size in zip((first, second), sizes, strict=True)]
    values, vectors = torch.linalg.eigh(scaled[0] + scaled[1])
    seen = values > _NOTHING * float(values.max())
    lengths = values[seen].sqrt()
    white = vectors[:, seen] / lengths
    shares, turned = torch.linalg.eigh(white.T @ scaled[0] @ white)
    shares = shares.clamp(0, 1)
    back = turned.T @ (lengths[:, None] * vectors[:, seen].T)
    return white @ turned, back, sizes[0] * shares, sizes[1] * (1 - shares)
