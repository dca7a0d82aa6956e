"""How long directions keep their value, and whether they are the principal modes of the window itself."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.noise.velocity import integrated_time

__all__ = ["chosen_by_variance", "time_of_means"]

_MOST_MEANS = 2048
_UNCORRELATED = 0.1


def time_of_means(values: Float[Tensor, "T k"]) -> Float[Tensor, " k"]:
    r"""Integrated autocorrelation time of series, in rows, from means over short stretches.

    .. math:: t = s\,\Big(1 + 2 \sum_{j \ge 1} \rho_j\Big)

    with rho the autocorrelation of the means of s successive values, up to the first lag at which it is not positive.
    A relaxing direction, rho = exp(-t/tau), has t = 2 tau. The stretches are so short that there are 1024 to 2048 of
    them; a time shorter than s is given as s.

    Args:
        values: One series a column.

    Returns:
        The times, at least 1 row.

    Example:
        >>> from landscope.synthetic import autoregressive
        >>> slow = autoregressive(torch.tensor([0.9]).double(), 20_000, seed=0)
        >>> 15 < float(time_of_means(slow)) < 25  # (1 + 0.9)/(1 - 0.9) = 19
        True
    """
    size = max(1, math.ceil(len(values) / _MOST_MEANS))
    whole = len(values) // size * size
    means = values[:whole].double().unflatten(0, (-1, size)).mean(dim=1)
    return size * integrated_time(means - means.mean(dim=0))


def chosen_by_variance(theta: Float[Tensor, "T k"]) -> bool:
    r"""Whether coordinates are those along the principal modes of the very rows they were measured on.

    Principal coordinates are uncorrelated to rounding. Those along directions fixed beforehand have correlations of
    order :math:`1/\sqrt T` or more, which one weighted sum shows: with r_j alternating signs,
    :math:`\langle (\sum_{j \ne i} r_j \rho_{ij})^2 \rangle \ge (k-1)/T`. Less than a tenth of the root of that counts
    as chosen; by chance this happens with a probability of 8 % for two directions, and next to never for ten.

    Args:
        theta: Coordinates, about any origin.

    Example:
        >>> rows = torch.randn(1000, 5, generator=torch.Generator().manual_seed(0)).double()
        >>> axes = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)[2]
        >>> chosen_by_variance(rows), chosen_by_variance(rows @ axes.T)
        (False, True)
    """
    centred = theta - theta.mean(dim=0)
    scale = centred.square().mean(dim=0).sqrt()
    unit = centred[:, scale > 0] / scale[scale > 0]
    rows, count = unit.shape
    if count < 2:
        return False
    signs = torch.ones(count, dtype=unit.dtype)
    signs[1::2] = -1
    others = unit.T @ (unit @ signs) / rows - signs
    return float(others.square().mean()) < _UNCORRELATED**2 * (count - 1) / rows
