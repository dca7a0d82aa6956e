"""Which directions a window moved along at all: one rule for every fit, count and null."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from landscope._checks import check_finite
from landscope.trajectory import Trajectory
from landscope.trajectory.rounding import spacing_of

__all__ = ["ROUNDING", "moving", "rounding_strength"]

ROUNDING = 1e-12
"""Share of the largest variance (or length) of a window at and below which a direction holds rounding only."""

_SHARE_OF_ROUNDING = 0.1
_ROWS_AT_ONCE = 64


def moving(
    variance: Float[Tensor, " k"],
    velocity_variance: Float[Tensor, " k"] | None = None,
    rounding: Float[Tensor, " k"] | None = None,
) -> Bool[Tensor, " k"]:
    r"""Directions along which the weights moved by more than rounding.

    .. math:: \sigma_i^2 > 10^{-12} \max_j \sigma_j^2 \quad\text{and}\quad D_i > 10\, r_i

    Rounding leaves variances near 1e-37 in directions that never moved, such as weights of dead inputs. Directions
    without a gradient, such as a shift of all logits, walk by the rounding of each step; their variance grows with the
    window, but their velocity variance D_i stays at r_i. The second condition leaves out every direction in which
    rounding makes more than a tenth of D_i; it needs the steps of the window.

    Args:
        variance: Variances sigma_i^2 of one window along several directions, in any order.
        velocity_variance: Velocity variances D_i of the same window, from row to row; not looked at by default.
        rounding: What rounding adds to D_i, from ``rounding_strength``.

    Returns:
        A mask; all False where no direction moves.

    Raises:
        NonFiniteError: If a variance is NaN or infinite.

    Example:
        >>> import torch
        >>> moving(torch.tensor([1.0, 1e-6, 1e-37])).tolist()
        [True, True, False]
        >>> moving(torch.tensor([1.0, 1e-6]), torch.tensor([1.0, 1e-17]), torch.full((2,), 1e-17)).tolist()
        [True, False]
    """
    if not len(variance):
        return variance > 0
    check_finite("variances", variance, hint="Leave out directions whose variance is not known.")
    moves = variance > ROUNDING * variance.max()
    if velocity_variance is None:
        return moves
    floor = 0.0 if rounding is None else rounding / _SHARE_OF_ROUNDING
    return moves & (velocity_variance > floor)


def rounding_strength(directions: Float[Tensor, "k N"], window: Trajectory) -> Float[Tensor, " k"]:
    r"""Velocity variance that rounding alone gives each direction.

    .. math:: r_i = \frac{\Delta t}{12} \sum_j p_{ij}^2\, u_j^2

    u_j is the distance between neighbouring floating-point numbers at the weight w_j, in the precision the weights were
    trained in. Each step rounds each weight by an error that is uniform within u_j/2 on either side, so of variance
    u_j^2/12; over the Delta t steps between two rows the errors add up.

    Args:
        directions: Unit vectors p_i.
        window: The window; u_j is taken at its last row.

    Returns:
        r_i in squared weight units, float64.

    Example:
        >>> import torch
        >>> window = Trajectory.of(torch.ones(2, 1))
        >>> float(rounding_strength(torch.eye(1), window)) == torch.finfo(torch.float32).eps ** 2 / 12
        True
    """
    last = window.row(-1)
    spacing = spacing_of(last, window.precision or last.dtype)
    apart = float(window.steps.diff().double().mean()) if len(window) > 1 else 1.0
    rows = [(part.double() * spacing).square().sum(dim=1) for part in directions.split(_ROWS_AT_ONCE)]
    return torch.cat(rows) * (apart / 12) if rows else directions.new_zeros(0)
