"""The exponent of a spectrum around each rank, which shows where one power law ends and another begins."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from landscope.directions.ranks import log_spaced_ranks
from landscope.power_law import fit_power_law

__all__ = ["local_exponents"]

_REACH = 1.5
"""Ranks from i/1.5 to 1.5 i enter the exponent at i."""
_FEWEST = 4
_POINTS = 60


def local_exponents(
    variance: Float[Tensor, " k"], moves: Bool[Tensor, " k"]
) -> tuple[Int[Tensor, " m"], Float[Tensor, " m"]]:
    r"""The exponent gamma of :math:`\sigma_i^2 \sim i^{-\gamma}` over the ranks from i/1.5 to 1.5 i, for many i.

    Args:
        variance: Variances, falling.
        moves: Whether the window moved along each mode; others enter no fit.

    Returns:
        Log-spaced ranks whose range has four modes that move at least, and the exponents.

    Example:
        >>> rank = torch.arange(1, 101).double()
        >>> ranks, gamma = local_exponents(rank**-2.5, rank > 0)
        >>> int(ranks[0]), bool(torch.allclose(gamma, torch.full_like(gamma, 2.5)))
        (4, True)
    """
    rank = torch.arange(1, len(variance) + 1, dtype=torch.float64)
    last = int(moves.nonzero().max()) + 1 if bool(moves.any()) else 0
    found = {}
    for centre in log_spaced_ranks(last, _POINTS).tolist() if last else ():
        used = (rank >= centre / _REACH) & (rank <= _REACH * centre) & moves
        if int(used.sum()) >= _FEWEST and _REACH * centre <= last:
            found[centre] = -fit_power_law(rank[used], variance[used]).exponent
    exponents = torch.tensor(list(found.values()), dtype=torch.float64)
    return torch.tensor(list(found), dtype=torch.long), torch.where(exponents.isfinite(), exponents, math.nan)
