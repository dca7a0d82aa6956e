"""The largest step size at which an implicit step of a penalty is more than rounding."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from landscope.protocols import Penalty

__all__ = ["largest_step_size"]

_ITERATIONS = 10
_MARGIN = 64.0
"""Over the precision: products of large factors round in many places."""


def largest_step_size(penalty: Penalty, w: Tensor) -> float:
    r"""The step size at which rounding of the curvature of a penalty can turn a step around, with a margin.

    .. math:: \alpha_{max} = \frac{1}{64 \, \epsilon \, \lambda_1}

    with the largest eigenvalue of the Hessian of V, by power iteration, and the precision of w. The curvature of V is
    never negative, but a product with it is rounded to :math:`\pm \epsilon \lambda_1`. A weight of which an adaptive
    optimiser has seen no gradient, such as that of a dead unit, has a step size of lr over its smallest number,
    :math:`10^6` for Adam: without a bound, rounding alone would drive it away.

    Args:
        penalty: The penalty.
        w: Weights, for their precision, ``[N]``.

    Example:
        >>> from landscope.penalties import QuadraticPenalty
        >>> penalty = QuadraticPenalty(anchor=torch.zeros(2), stiffness=torch.tensor([2.0, 1.0]))
        >>> round(largest_step_size(penalty, torch.zeros(2)) * 64 * torch.finfo(torch.float32).eps, 4)
        0.25
    """
    generator = torch.Generator().manual_seed(0)
    vector, largest = torch.randn(w.shape, generator=generator).to(w), 0.0
    for _ in range(_ITERATIONS):
        length = float(torch.linalg.vector_norm(vector))
        if not 0 < length < math.inf:
            break
        vector = penalty.hessian_vector_product(w, vector / length)
        largest = max(largest, float(torch.linalg.vector_norm(vector)))
    return 1 / (_MARGIN * torch.finfo(w.dtype).eps * largest) if 0 < largest < math.inf else math.inf
