"""Whether a window goes one way: displacements of its parts that add up more than those of a walk."""

from __future__ import annotations

import dataclasses
import itertools

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count
from landscope.errors import InputError

__all__ = ["DirectedDrift", "directed_drift"]

_PARTS = 10
_ROWS_A_DIRECTION = 4


@dataclasses.dataclass(frozen=True)
class DirectedDrift:
    """How the displacements of the parts of a window add up.

    Args:
        coherence: Mean product of the displacements of parts that are not neighbours, over their mean square: 0 on
            average for a walk and for what relaxes within a part, 1 for a straight line.
        p_value: Probability of so much where every part is as likely to go the opposite way.
        level: Probability below which the window counts as drifting.
    """

    coherence: float
    p_value: float
    level: float

    @property
    def reason(self) -> str:
        """Why the window is no draw of a process at rest; empty where it may be one."""
        if self.p_value > self.level:
            return ""
        return (
            f"weights that drift: parts of the window go the same way (mean product {self.coherence:.2g} of the mean "
            f"square, p = {self.p_value:.1g}, at most {self.level:g})"
        )


def directed_drift(coordinates: Float[Tensor, "T k"], *, level: float = 0.05) -> DirectedDrift:
    r"""Test whether a window drifts one way, against walks and relaxing processes.

    .. math:: \frac{\sum_{|j-k|>1} d_j^\top C^{-1} d_k/72}{\sum_k d_k^\top C^{-1} d_k/10}

    with the displacements d_k of ten equal parts and the mean square C of the steps, so that every direction has the
    same noise and a drift along a quiet one is seen. Neighbouring parts share a boundary: what is pulled back goes the
    opposite way in the next one, and only there. C is taken along the first directions, a quarter as many as rows.

    A walk is as likely to go the opposite way in each part: the probability is the share of all :math:`2^9` choices of
    signs with as large a sum (an exact test but for C, which both share).

    Args:
        coordinates: Coordinates over time, along principal modes that move.
        level: Probability of rejecting a walk. A false alarm costs a correction, a drift that is missed makes it wrong.

    Returns:
        The test.

    Raises:
        InputError: If there are fewer than 21 rows, or a direction does not move.

    Example:
        >>> from landscope.synthetic import random_walk
        >>> walk = random_walk(500, 20, seed=0).double()
        >>> directed_drift(walk).reason
        ''
        >>> directed_drift(walk + 0.3 * torch.arange(500)[:, None]).p_value < 0.05
        True
    """
    rows = check_count("the number of rows", len(coordinates), minimum=2 * _PARTS + 1)
    edges = torch.linspace(0, rows - 1, _PARTS + 1, dtype=torch.float64).round().long()
    ends = coordinates[edges].double()
    steps = coordinates.double().diff(dim=0)
    count = min(coordinates.shape[1], rows // _ROWS_A_DIRECTION)
    noise = steps[:, :count].square().mean(dim=0).sqrt()
    if not bool((noise > 0).all()):
        raise InputError(
            expected="directions that move",
            got=f"{int((noise <= 0).sum())} without a step",
            hint="Leave out the directions that do not move.",
        )
    steps, moved = steps[:, :count] / noise, ends.diff(dim=0)[:, :count] / noise
    products = moved @ torch.linalg.solve(steps.T @ steps / (rows - 1), moved.T)
    part = torch.arange(_PARTS)
    apart = products * ((part[:, None] - part).abs() > 1)
    signs = torch.tensor(list(itertools.product((1.0, -1.0), repeat=_PARTS - 1)), dtype=torch.float64)
    signs = torch.cat([torch.ones(len(signs), 1, dtype=torch.float64), signs], dim=1)
    sums = torch.einsum("sk,kl,sl->s", signs, apart, signs)
    # The first choice is the window itself; rounding must not exclude it.
    as_large = sums >= sums[0] - 1e-9 * sums[0].abs()
    mean = sums[0] / ((_PARTS - 1) * (_PARTS - 2)) / (products.diagonal().sum() / _PARTS)
    return DirectedDrift(float(mean), float(as_large.double().mean()), level)
