"""A second moment that exists where heavy tails leave the ordinary one without a value."""

from __future__ import annotations

import math

from jaxtyping import Float
from scipy import stats
from torch import Tensor

__all__ = ["TRIMMED_SHARE", "trimmed_mean_square"]

TRIMMED_SHARE = 0.1
"""Share of the values, those farthest from zero, that the trimmed moment leaves out."""


def trimmed_mean_square(values: Float[Tensor, " n"]) -> float:
    r"""Mean square without the tenth of the values farthest from zero, in units in which a normal law keeps its own.

    .. math:: \frac{\langle x^2 \,;\, |x| \le x_q \rangle}{c_q}, \qquad
              c_q = 1 - \frac{2 z_q\, \varphi(z_q)}{1 - q}, \qquad \Phi(z_q) = 1 - q/2

    with q = 0.1 and the mean over the share 1 - q that is left. It exists for any law, also for centres
    -slope/stiffness, whose second moment in Eq. 12 may be infinite. For a normal law about zero it is the variance; for
    heavy tails it is the scale of the bulk.

    Args:
        values: At least one value; the law should be symmetric about zero.

    Returns:
        The trimmed mean square.

    Example:
        >>> import torch
        >>> x = torch.randn(100_000, generator=torch.Generator().manual_seed(0)).double()
        >>> round(trimmed_mean_square(x), 1)
        1.0
    """
    ordered = values.double().abs().sort().values
    left = max(1, len(ordered) - math.floor(TRIMMED_SHARE * len(ordered)))
    edge = float(stats.norm.ppf(1 - TRIMMED_SHARE / 2))
    of_normal = 1 - 2 * edge * float(stats.norm.pdf(edge)) / (1 - TRIMMED_SHARE)
    return float(ordered[:left].square().mean()) / of_normal
