"""How much each principal coordinate resembles that of a random walk."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count
from landscope.directions.moving import moving

__all__ = ["cosine_content"]


def cosine_content(coordinates: Float[Tensor, "T k"]) -> Float[Tensor, " k"]:
    r"""How much principal coordinate k resembles the cosine of a random walk (Hess, Phys. Rev. E 62, 8438).

    .. math:: c_k = \frac2T \frac{\left(\sum_t \cos(\pi k (t + 1/2)/T)\, \theta_k(t)\right)^2}
              {\sum_t \theta_k(t)^2}

    A value near 1 says that the mode cannot be told from the k-th mode of free diffusion in many dimensions.

    Args:
        coordinates: Principal coordinates, mode k in column k - 1.

    Returns:
        The content of each mode, between 0 and 1; NaN for one that does not move.

    Raises:
        InputError: If there are fewer than two rows.

    Example:
        >>> import torch
        >>> t = (torch.arange(100) + 0.5) / 100
        >>> [round(c, 6) for c in cosine_content(torch.cos(torch.pi * t)[:, None].double()).tolist()]
        [1.0]
    """
    count, modes = coordinates.shape
    check_count("rows of coordinates", count, minimum=2)
    time = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    rank = torch.arange(1, modes + 1, dtype=torch.float64)
    cosines = torch.cos(math.pi * time[:, None] * rank)
    theta = coordinates.double()
    power = theta.square().sum(dim=0)
    content = 2 / count * (cosines * theta).sum(dim=0).square() / power
    return torch.where(moving(power), content, math.nan)
