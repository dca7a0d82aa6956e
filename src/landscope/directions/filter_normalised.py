"""Directions whose filters have the norms of those of the network (Li et al., NeurIPS 2018)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_kind, check_start
from landscope.directions.directions import Directions, rows_of
from landscope.errors import InputError
from landscope.parameters import ParameterSpace

__all__ = ["filter_normalised"]


def filter_normalised(
    directions: Directions | Float[Tensor, "k N"], w0: Float[Tensor, " N"], space: ParameterSpace
) -> Float[Tensor, "k N"]:
    r"""Rescale the filters of directions to the norms of those of the weights (Li et al., NeurIPS 2018, Eq. 1).

    .. math:: d_{ij} \leftarrow \frac{d_{ij}}{\lVert d_{ij} \rVert} \lVert w_{ij} \rVert

    Filter j of layer i is what one output unit reads: one row of a weight tensor with two or more axes. Biases, and
    the scales and shifts of normalisation, are not moved.

    No analysis of this package does this by itself, because it makes other directions than those that were asked for:

    - The picture is in units of the norms of the filters at w0. They depend on the parametrisation and on the weight
      decay. Two networks are comparable only where the loss does not depend on the norm of a filter, as before a
      normalisation.
    - A random direction in N dimensions shows an average over the curvatures. It hides the few sharp directions in
      which a training moves, and two random directions are no plane in which it moved.
    - Principal modes lose what makes them modes: their variance, and that they are orthogonal.

    Args:
        directions: Directions, such as ``directions.random(N, 2, seed=0)``.
        w0: The weights.
        space: The parameters that they belong to, such as ``risk.space``.

    Returns:
        Directions ``[k, N]`` in float64, in main memory, which are neither of length 1 nor orthogonal.

    Raises:
        InputError: If the shapes do not fit, or no parameter has filters.

    Example:
        The first filter has norm 5, the second norm 0.

        >>> space = ParameterSpace(("0.weight", "0.bias"), ((2, 2), (2,)))
        >>> w0 = torch.tensor([3.0, 4.0, 0.0, 0.0, 1.0, 1.0])
        >>> filter_normalised(torch.ones(1, 6), w0, space).round(decimals=2).tolist()
        [[3.54, 3.54, 0.0, 0.0, 0.0, 0.0]]
    """
    check_kind("the space", space, ParameterSpace, hint="Pass risk.space, or ParameterSpace.of(model).")
    w0, rows = check_start(w0.detach().cpu(), rows_of(directions).detach().cpu(), same_dtype=False)
    if space.dim != len(w0):
        raise InputError(
            expected=f"weights of {space.dim} numbers, as the space says", got=f"{len(w0)}",
            hint="Pass the space that the weights were flattened with, such as risk.space.",
        )  # fmt: skip
    if all(len(shape) < 2 for shape in space.shapes):
        raise InputError(
            expected="a parameter with filters, a weight tensor of two or more axes",
            got=f"only {', '.join(space.names)}", hint="Select weights of linear or convolution layers.",
        )  # fmt: skip
    scaled, start = torch.zeros_like(rows, dtype=torch.float64), 0
    for shape, size in zip(space.shapes, space.sizes, strict=True):
        part = slice(start, start + size)
        if len(shape) >= 2:
            scaled[:, part] = _scaled(rows[:, part], w0[part], shape).flatten(1)
        start += size
    return scaled


def _scaled(rows: Tensor, w: Tensor, shape: tuple[int, ...]) -> Tensor:
    """``rows[k, n]`` of one parameter, as ``[k, filters, weights of a filter]``; a filter of zeros stays zero."""
    filters = rows.double().view(len(rows), shape[0], math.prod(shape[1:]))
    norms = torch.linalg.vector_norm(w.double().view(shape[0], -1), dim=1)[:, None]
    lengths = torch.linalg.vector_norm(filters, dim=2, keepdim=True)
    return torch.where(lengths > 0, filters / lengths * norms, 0.0)
