"""A penalty along few directions, kept as two small matrices a layer."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from landscope.errors import InputError
from landscope.parameters import ParameterSpace
from landscope.penalties.kronecker import KroneckerPenalty
from landscope.penalties.quadratic import QuadraticPenalty
from landscope.penalties.sums import PenaltySum
from landscope.results import stamp

__all__ = ["factored_penalty"]


def factored_penalty(penalty: QuadraticPenalty, space: ParameterSpace) -> PenaltySum:
    r"""A penalty along directions as one Kronecker product a layer: 3 N numbers or so in place of (k + 1) N.

    With P_i the part of :math:`p_i` on a weight matrix ``[m, n]``, and K its stiffness there,

    .. math:: K \to A \otimes G, \qquad G = \sum_i k_i P_i P_i^\top, \qquad
              A = \frac{\sum_i k_i P_i^\top P_i}{\sum_i k_i |P_i|^2}

    so that the mean stiffness of every row and of every column of the matrix stays what it was; what couples two layers
    is left out. It spreads the stiffness over directions like those that were held: a constraint without a floor
    (``floor="none"``) needs none after it. Exact where one direction of rank one is held in one layer.

    Args:
        penalty: With directions; a floor is taken in.
        space: The weights it is on. Convolutions are matrices with a row for each output, vectors have one column.

    Returns:
        The sum of one penalty a layer: m n + m^2 + n^2 numbers for each.

    Raises:
        InputError: If the penalty has no directions, or is on other weights.

    Example:
        >>> import torch
        >>> space = ParameterSpace(("weight",), ((2, 2),))
        >>> along = torch.tensor([[0.6, 0.8, 0.0, 0.0]])  # the first row of the matrix
        >>> penalty = QuadraticPenalty(anchor=torch.zeros(4), directions=along, stiffness=torch.tensor([3.0]))
        >>> factored = factored_penalty(penalty, space)
        >>> w = torch.tensor([1.0, 1.0, 1.0, 1.0])
        >>> round(float(penalty(w)), 4), round(float(factored(w)), 4)
        (5.88, 5.88)
    """
    if penalty.directions is None:
        raise InputError(
            expected="a penalty along directions", got="a stiffness for every weight",
            hint="Keep it as it is: it holds 2 N numbers.",
        )  # fmt: skip
    if space.dim != penalty.dim or (penalty.parameters and penalty.parameters != space.names):
        raise InputError(
            expected=f"the {penalty.dim} weights of the penalty ({', '.join(penalty.parameters) or 'unnamed'})",
            got=f"{space.dim} of {', '.join(space.names)}",
            hint="Pass the space of the recorder or of the risk.",
        )
    return PenaltySum(tuple(_layer(penalty, space, name) for name in space.names))


def _layer(penalty: QuadraticPenalty, space: ParameterSpace, name: str) -> KroneckerPenalty:
    shape = space.shapes[space.names.index(name)]
    columns = space.columns([name]).to(penalty.anchor.device).view(shape[0] if shape else 1, -1)
    outputs, inputs = _factors(penalty, columns)
    return KroneckerPenalty(
        anchor=penalty.anchor[columns],
        columns=columns,
        dim=penalty.dim,
        inputs=inputs.to(penalty.anchor),
        outputs=outputs.to(penalty.anchor),
        strength=penalty.strength,
        parameters=space.names,
        provenance=stamp(source=dict(penalty.provenance)),
    )


def _factors(penalty: QuadraticPenalty, columns: Tensor) -> tuple[Float[Tensor, "m m"], Float[Tensor, "n n"]]:
    """G and A of the weights of one matrix, in float64."""
    assert penalty.directions is not None  # noqa: S101 - asked for before
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
