"""What the order of the minibatches makes of sigma^2/D: reshuffled epochs against independent draws, for any step."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count
from landscope.noise.displacement import half_displacement, over_epochs
from landscope.noise.step_rule import StepRule

__all__ = ["order_factors"]

_COLUMNS = 32


def order_factors(
    rule: StepRule,
    pulls: Float[Tensor, " k"],
    decay: float = 0.0,
    *,
    n_rows: int,
    spacing: int = 1,
    steps_per_epoch: int,
) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
    r"""Sigma^2/D with reshuffled epochs over that with independent minibatches, without end and in a window.

    With U(h) half of the mean squared displacement under independent noise after h steps, and V(h) that of reshuffled
    epochs of M minibatches (``landscope.noise.displacement``), the variance without end is V of infinity, D is
    2 V(m) for rows m steps apart, and the variance in a window of n rows is :math:`2 n^{-2} \sum_{j<n} (n - j) V(j m)`,
    averaged over where in the epoch it begins. With U in the place of V these are those of independent noise. For
    single steps :func:`landscope.noise.window_time` gives the times themselves.

    Args:
        rule: Step of the optimiser.
        pulls: alpha lambda.
        decay: alpha w.
        n_rows: Rows of the window.
        spacing: m, the steps between two rows.
        steps_per_epoch: M.

    Returns:
        The factor in a window without end, and the factor in the window, float64.

    Example:
        >>> flat = torch.tensor([1e-4, 1.0])
        >>> without_end, _ = order_factors(StepRule(), flat, n_rows=1000, steps_per_epoch=60)
        >>> [round(float(factor), 3) for factor in without_end]
        [0.002, 0.984]
    """
    check_count("steps_per_epoch", steps_per_epoch, minimum=2)
    check_count("n_rows", n_rows, minimum=2)
    check_count("spacing", spacing)
    parts = [_factors(rule, part, decay, n_rows, spacing, steps_per_epoch) for part in pulls.split(_COLUMNS)]
    endless, within = zip(*parts, strict=True)
    return torch.cat(endless), torch.cat(within)


def _factors(
    rule: StepRule, pulls: Tensor, decay: float, n_rows: int, spacing: int, steps_per_epoch: int
) -> tuple[Tensor, Tensor]:
    ahead = (n_rows - 1) * spacing + 1
    white, white_endless = half_displacement(rule, pulls, decay, ahead + steps_per_epoch - 1)
    own, endless = over_epochs(white, ahead, steps_per_epoch)
    rows, own = white[:ahead:spacing], own[::spacing]
    weights = n_rows - torch.arange(n_rows, dtype=torch.float64)
    strength = own[1] / rows[1]
    return endless / white_endless / strength, (weights @ own) / (weights @ rows) / strength
