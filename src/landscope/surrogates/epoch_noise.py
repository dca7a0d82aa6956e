"""What sampling without replacement alone does to variances (Kühn & Rosenow, arXiv 2306.05300)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count, check_momentum, check_positive
from landscope.errors import InputError

__all__ = ["crossover_curvature", "epoch_noise_time"]


def crossover_curvature(learning_rate: float, batches_per_epoch: int, momentum: float = 0.0) -> float:
    r"""The curvature :math:`3(1-\beta)/(\eta M)` below which the order of the minibatches rules the variance.

    Args:
        learning_rate: eta.
        batches_per_epoch: M.
        momentum: beta.

    Returns:
        The crossover, in units of the Hessian.

    Raises:
        InputError: If the learning rate is not positive or there are fewer than two batches.

    Example:
        >>> round(crossover_curvature(0.1, 1200), 3)
        0.025
    """
    check_positive("learning_rate", learning_rate)
    check_count("batches_per_epoch", batches_per_epoch, minimum=2)
    check_momentum(momentum)
    return 3 * (1 - momentum) / (learning_rate * batches_per_epoch)


def epoch_noise_time(
    curvature: Float[Tensor, " k"], *, learning_rate: float, batches_per_epoch: int, reshuffled: bool = True
) -> Float[Tensor, " k"]:
    r"""The correlation time sigma^2/D of plain SGD in a bowl, from the order of the minibatches alone.

    The noise of reshuffled epochs has :math:`C_h = C\,(\delta_{h0} - 1_{1\le h\le M}\frac{M-h}{M(M-1)})`. With
    :math:`a = 1 - \eta\lambda` the stationary process :math:`w' = a w - \eta g` has

    .. math:: \sigma^2 = \frac{\eta^2}{1-a^2}\Big(C_0 + 2\sum_{h\ge1} a^h C_h\Big), \qquad
              D = 2(1-a)\sigma^2 - 2\eta^2 \sum_{h\ge1} a^{h-1} C_h.

    In flat directions it tends to (M+1)/6, in steep ones to :math:`1/(2\eta\lambda)`; with replacement it is
    :math:`1/(2\eta\lambda)` everywhere.

    Args:
        curvature: lambda, with 0 < eta lambda < 2.
        learning_rate: eta.
        batches_per_epoch: M.
        reshuffled: Whether epochs are reshuffled; otherwise minibatches are drawn with replacement.

    Returns:
        sigma^2/D in steps.

    Raises:
        InputError: If a curvature does not fit the learning rate.

    Example:
        >>> import torch
        >>> times = epoch_noise_time(torch.tensor([1e-9, 1.0]), learning_rate=0.1, batches_per_epoch=60)
        >>> [round(x, 1) for x in times.tolist()]
        [10.2, 3.7]
    """
    check_positive("learning_rate", learning_rate)
    count = check_count("batches_per_epoch", batches_per_epoch, minimum=2)
    pull = learning_rate * curvature.double()
    if not bool(((pull > 0) & (pull < 2)).all()):
        raise InputError(
            expected="curvatures with 0 < learning rate x curvature < 2",
            got=f"{float(pull.min()):.3g} to {float(pull.max()):.3g}",
            hint="Leave out directions of negative curvature.",
        )
    if not reshuffled:
        return 1 / (2 * pull)
    a = 1 - pull[:, None]
    lag = torch.arange(1, count, dtype=torch.float64)
    memory = -(count - lag) / (count * (count - 1))
    power = a ** (lag - 1)
    # sigma^2 (1 - a^2) and D lose their digits near a = 1, where the sum of C_h nearly cancels C_0.
    ahead = (power * memory).sum(dim=1)
    sigma = _flat_sum(a[:, 0], lag, memory) / (1 - a[:, 0].square())
    strength = 2 * pull * sigma - 2 * ahead
    return sigma / strength


def _flat_sum(a: Tensor, lag: Tensor, memory: Tensor) -> Tensor:
    """1 + 2 sum a^h C_h, written with a^h - 1 as C_0 + 2 sum C_h = 0."""
    powers = torch.expm1(lag * torch.log1p(-(1 - a).clamp(max=1 - 1e-12))[:, None])
    signed = torch.where(a[:, None] > 0, powers, a[:, None] ** lag - 1)
    return 2 * (signed * memory).sum(dim=1)
