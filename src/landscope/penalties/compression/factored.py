"""A penalty along directions, stored as two small matrices a layer."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_kind
from landscope.errors import InputError
from landscope.parameters import ParameterSpace
from landscope.penalties.blocks import PartPenalty, PenaltySum
from landscope.penalties.kronecker import KroneckerPenalty
from landscope.penalties.low_rank import LowRankKroneckerPenalty
from landscope.penalties.quadratic import QuadraticPenalty
from landscope.results import stamp

__all__ = ["factored_penalty", "uncoupled_penalty"]


def factored_penalty(penalty: QuadraticPenalty, space: ParameterSpace) -> PenaltySum:
    r"""Replace a penalty along directions by one Kronecker product a layer.

    For square layers it stores 3 N values instead of (k + 1) N.

    With P_i the part of :math:`p_i` on a weight matrix ``[m, n]``, and K the stiffness on that matrix,

    .. math:: K \to A \otimes G, \qquad G = \sum_i k_i P_i P_i^\top, \qquad
              A = \frac{\sum_i k_i P_i^\top P_i}{\sum_i k_i |P_i|^2}

    This keeps the mean stiffness of every row and of every column of the matrix and drops the coupling of layers. It
    spreads the stiffness over directions similar to the held ones, so a constraint without a floor
    (``floor="none"``) needs no floor afterwards. It is exact if all :math:`P_i = u v_i^\top` with the same u. Where
    the factors would store more than the directions, as for a long vector or an embedding, the diagonal of K is kept.

    Args:
        penalty: Penalty along directions, with or without a floor.
        space: Selected weights of the penalty. A convolution is a matrix with one row for each output, a vector is a
            matrix with one column.

    Returns:
        The sum of one penalty a parameter. Each stores m n + m^2 + n^2 values, or 2 m n where that would exceed
        (k + 1) m n.

    Raises:
        InputError: If the penalty has no directions, or is on other weights.

    Example:
        >>> import torch
        >>> space = ParameterSpace(("weight",), ((2, 2),))
        >>> along = torch.tensor([[0.6, 0.8, 0.0, 0.0], [-0.8, 0.6, 0.0, 0.0]])  # the first row of the matrix
        >>> penalty = QuadraticPenalty(anchor=torch.zeros(4), directions=along, stiffness=torch.tensor([3.0, 1.0]))
        >>> factored = factored_penalty(penalty, space)
        >>> w = torch.tensor([1.0, 1.0, 1.0, 1.0])
        >>> round(float(penalty(w)), 4), round(float(factored(w)), 4)
        (5.92, 5.92)
    """
    check_kind("the penalty", penalty, QuadraticPenalty, hint="Factor each part of a sum separately.")
    check_kind("the space", space, ParameterSpace, hint="Pass recorder.space or risk.space.")
    if penalty.directions is None:
        raise InputError(
            expected="a penalty along directions", got="one stiffness a weight",
            hint="Keep this penalty as it is: it stores only 2 N values.",
        )  # fmt: skip
    if space.dim != penalty.dim or (penalty.parameters and penalty.parameters != space.names):
        raise InputError(
            expected=f"the {penalty.dim} weights of the penalty ({', '.join(penalty.parameters) or 'unnamed'})",
            got=f"{space.dim} of {', '.join(space.names)}",
            hint="Pass the space of the recorder or of the risk.",
        )
    return PenaltySum(tuple(_layer(penalty, space, name) for name in space.names))


def _layer(penalty: QuadraticPenalty, space: ParameterSpace, name: str) -> PartPenalty:
    shape = space.shapes[space.names.index(name)]
    columns = space.columns([name]).to(penalty.anchor.device)
    m, n = columns.view(shape[0] if shape else 1, -1).shape
    kept = _factored if m * m + n * n <= len(penalty.stiffness) * m * n else _diagonal
    return PartPenalty(kept(penalty, columns.view(m, n)), columns, dim=penalty.dim, parameters=space.names)


def _factored(penalty: QuadraticPenalty, columns: Tensor) -> KroneckerPenalty:
    """The factors of the stiffness of one matrix."""
    outputs, inputs = _factors(penalty, columns)
    return KroneckerPenalty(
        anchor=penalty.anchor[columns],
        inputs=inputs.to(penalty.anchor),
        outputs=outputs.to(penalty.anchor),
        strength=penalty.strength,
        provenance=stamp(source=dict(penalty.provenance)),
    )


def _diagonal(penalty: QuadraticPenalty, columns: Tensor) -> QuadraticPenalty:
    """The stiffness of each weight of one matrix."""
    assert penalty.directions is not None  # noqa: S101 - factored_penalty checked it
    columns = columns.flatten()
    excess = (penalty.stiffness.double() - penalty.floor)[:, None]
    stiffness = penalty.floor + (excess * penalty.directions[:, columns].double().square()).sum(dim=0)
    return QuadraticPenalty(
        anchor=penalty.anchor[columns], stiffness=stiffness.clamp(min=0).to(penalty.anchor), strength=penalty.strength
    )


def uncoupled_penalty(penalty: KroneckerPenalty | LowRankKroneckerPenalty) -> QuadraticPenalty:
    """Keep only the diagonal of the stiffness, without the coupling between weights.

    Args:
        penalty: Penalty on one matrix.

    Returns:
        A penalty on the same weights, which stores 2 m n values.

    Example:
        >>> import torch
        >>> penalty = KroneckerPenalty(
        ...     anchor=torch.zeros(1, 2), outputs=torch.eye(1), inputs=torch.tensor([[2.0, 1.0], [1.0, 3.0]])
        ... )
        >>> penalty(torch.ones(2)).item(), uncoupled_penalty(penalty)(torch.ones(2)).item()
        (7.0, 5.0)
    """
    stiffness = torch.outer(penalty.outputs.diagonal(), penalty.inputs.diagonal()).flatten()
    return QuadraticPenalty(
        anchor=penalty.anchor.flatten(), stiffness=stiffness.clamp(min=0), strength=penalty.strength
    )


def _factors(penalty: QuadraticPenalty, columns: Tensor) -> tuple[Float[Tensor, "m m"], Float[Tensor, "n n"]]:
    """G and A of the weights of one matrix, in float64."""
    assert penalty.directions is not None  # noqa: S101 - factored_penalty checked it
    parts = penalty.directions[:, columns].double()
    excess = (penalty.stiffness.double() - penalty.floor)[:, None, None]
    weighted = excess * parts
    m, n = columns.shape
    outputs = (weighted @ parts.mT).sum(dim=0)
    inputs = (weighted.mT @ parts).sum(dim=0)
    outputs.diagonal().add_(n * penalty.floor)
    inputs.diagonal().add_(m * penalty.floor)
    total = outputs.trace()
    return outputs, inputs / total if total > 0 else inputs
