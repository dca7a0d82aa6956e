"""Whether the noise of a run sums to zero over its epochs, and over which."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from landscope._checks import check_count
from landscope.directions.directions import Directions
from landscope.noise.step_rule import StepRule
from landscope.surrogates.building import increments_of, outside_of
from landscope.trajectory import Trajectory

__all__ = ["epoch_lengths", "epoch_noise_share", "length_of_epochs"]

_BELOW = 0.5
"""Share of independent noise over an epoch below which minibatches count as drawn without replacement."""
_ROUNDING = 1e-6
"""Share of the squared steps below which what is left outside of directions is rounding, which sums to nothing."""
_ORDERS, _SURELY_ABOVE, _MANY = 20, 0.75, 1_000_000
"""Random orders of the steps that a share is compared with; the share from which on it is not, and numbers in a window
from which on a share below 0.25 is not: chance leaves such a share in few directions only."""
_SURELY_BELOW, _FEWEST_EPOCHS = 0.25, 4
"""The same where other epochs are looked for, among many that could be, and the fewest whole epochs for that."""


def epoch_noise_share(
    window: Trajectory, curvature: Directions, steps_per_epoch: int, *, rule: StepRule | None = None
) -> float:
    r"""How much of the noise is left over an epoch: whether minibatches were drawn without replacement.

    .. math:: \mathrm{median}_e \frac{|R_{e+1} - R_e|^2}{P_{e+1} + P_e}, \qquad P_e = \sum_{t \in e} |r_t|^2,
              \qquad R_e = \sum_{t \in e} r_t, \qquad r_t = \Delta w_t - \beta^m \Delta w_{t-m}

    over whole epochs e, with the increments of rows m steps apart, outside the given sharp directions, where nothing
    relaxes within an epoch. r_t is the step without what momentum carries over from the last row, which would blur
    one epoch with the next; Nesterov's step is solved for its gradient,
    :math:`g_t = (r_t + \beta g_{t-1})/(1 + \beta)`. The share is near 1 for independent minibatches (in d alike
    dimensions 1 - 2/(3 d), for a median), and near 0 for reshuffled epochs, whose noise sums to zero. A steady drift is
    the same in neighbouring epochs, and cancels, and epochs of unusually large steps do not decide.

    Args:
        window: The window, with rows at even distances.
        curvature: The sharp directions.
        steps_per_epoch: Minibatches in an epoch.
        rule: Step of the optimiser; plain SGD by default.

    Returns:
        The share; NaN where the window holds fewer than two whole epochs, no rows stand at the ends of epochs, or
        nothing moves outside the directions.

    Raises:
        InputError: If the window has fewer than three rows.

    Example:
        >>> import torch
        >>> from landscope.synthetic import sgd_over_epochs
        >>> noise = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
        >>> path = sgd_over_epochs(noise - noise.mean(0), 6, learning_rate=0.1, seed=0)
        >>> round(epoch_noise_share(Trajectory.of(path), Directions.of(torch.eye(3)[:1]), 8), 6)
        0.0
    """
    check_count("steps_per_epoch", steps_per_epoch, minimum=2)
    noise, steps = _noise_of(window, curvature, rule)
    return _share_as_told(_sums(noise), steps, steps_per_epoch)


class EpochsFound(NamedTuple):
    """Over which epochs the noise of a window sums to zero.

    Args:
        length: Steps of the epochs, those told or ones near them; None where minibatches count as independent.
        share: What is left over these epochs, or over those told, of independent noise; NaN where that is not known.
        is_open: Whether the share is of neither: a quarter or more, and less than in random orders of the steps.
    """

    length: int | None
    share: float
    is_open: bool


def length_of_epochs(
    window: Trajectory, curvature: Directions, steps_per_epoch: int, *, rule: StepRule | None = None
) -> EpochsFound:
    """Steps of the epochs over which the noise sums to zero: those told, or epochs near them.

    Where :func:`epoch_noise_share` over the epochs told is above 0.25, others count if they leave a share below that in
    four epochs or more: epochs that begin at another step, and epochs one step shorter, as where the last minibatch is
    dropped, or one step longer. A begin at the share f of an epoch leaves 3 f (1 - f). Otherwise those told count where
    they leave less than 0.5. All this must be less than what 20 random orders of the steps leave: in a few directions,
    the share of independent minibatches scatters widely.

    Args:
        window: The window, with rows at even distances.
        curvature: The sharp directions.
        steps_per_epoch: Minibatches in an epoch, as told.
        rule: Step of the optimiser; plain SGD by default.

    Returns:
        The epochs and what they leave.

    Example:
        >>> from landscope.synthetic import sgd_over_epochs
        >>> noise = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
        >>> path = sgd_over_epochs(noise - noise.mean(0), 6, learning_rate=0.1, seed=0)
        >>> length_of_epochs(Trajectory.of(path), Directions.of(torch.eye(3)[:1]), 9).length
        8
    """
    check_count("steps_per_epoch", steps_per_epoch, minimum=2)
    noise, steps = _noise_of(window, curvature, rule)
    length, share = _least(noise, steps, steps_per_epoch)
    if math.isnan(share) or (share < _SURELY_BELOW and noise.numel() > _MANY) or share > _SURELY_ABOVE:
        return EpochsFound(length, share, False)
    generator = torch.Generator().manual_seed(0)
    orders = (torch.randperm(len(noise), generator=generator) for _ in range(_ORDERS))
    if any(share >= _least(noise[order], steps, steps_per_epoch)[1] for order in orders):
        return EpochsFound(None, share, False)
    return EpochsFound(length, share, share >= _SURELY_BELOW)


def _least(noise: Tensor, steps: Tensor, steps_per_epoch: int) -> tuple[int | None, float]:
    """The epochs over which least is left, those told or ones near them, and what is left over them."""
    spacing, sums = int(steps[1] - steps[0]), _sums(noise)
    share = _share_as_told(sums, steps, steps_per_epoch)
    if math.isnan(share) or share < _SURELY_BELOW:
        return None if math.isnan(share) else steps_per_epoch, share
    near = [length // spacing for length in range(steps_per_epoch - 1, steps_per_epoch + 2) if length % spacing == 0]
    shares = [
        (_share(*sums, range(first, len(steps), rows)), spacing * rows)
        for rows in near
        for first in range(rows)
        if rows > 1 and (len(steps) - 1 - first) // rows >= _FEWEST_EPOCHS
    ]
    least, length = min(shares, default=(math.nan, 0))
    if least < _SURELY_BELOW:
        return length, least
    return steps_per_epoch if share < _BELOW else None, share


def epoch_lengths(steps: Tensor, steps_per_epoch: int) -> tuple[list[int], int]:
    """Increments of the rows in each epoch, and those in a whole one: 0 where no rows stand at the ends of epochs.

    Args:
        steps: Steps of the rows, at even distances.
        steps_per_epoch: Steps of an epoch; the first begins before step 1.
    """
    first, second = steps[:2].tolist()
    spacing = second - first
    rows = steps_per_epoch // spacing if steps_per_epoch % spacing == first % spacing == 0 else 0
    epoch = (steps[1:] - 1) // steps_per_epoch
    return torch.unique_consecutive(epoch, return_counts=True)[1].tolist(), rows


def _noise_of(window: Trajectory, curvature: Directions, rule: StepRule | None) -> tuple[Tensor, Tensor]:
    """What is new in each increment, outside the sharp directions, and the steps of the rows."""
    (_, increments), steps = increments_of(window), window.steps
    noise = outside_of(increments, curvature.directions)
    if float(noise.square().sum()) < _ROUNDING * float(increments.square().sum()):
        noise = torch.zeros_like(noise)
    if rule is None or not rule.momentum:
        return noise, steps
    return _without_momentum(noise, rule, int(steps[1] - steps[0])), steps[1:]


def _sums(noise: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of the noise before each row, and those of its squares."""
    start = noise.new_zeros(1, noise.shape[1])
    return torch.cat([start, noise]).cumsum_(dim=0), torch.cat([start[:, 0], noise.square().sum(dim=1)]).cumsum(dim=0)


def _share_as_told(sums: tuple[Tensor, Tensor], steps: Tensor, steps_per_epoch: int) -> float:
    """The share left over whole epochs of this length from step 1 on."""
    lengths, rows = epoch_lengths(steps, steps_per_epoch)
    first = 0 if lengths[0] == rows else lengths[0]
    return _share(*sums, range(first, len(steps), rows)) if rows > 1 else math.nan


def _share(sums: Tensor, powers: Tensor, ends: range) -> float:
    """The share left over epochs that end at these rows: the median over neighbouring ones."""
    rows = torch.arange(ends.start, ends.stop, ends.step)
    if len(rows) < 3:
        return math.nan
    changes = sums[rows].diff(n=2, dim=0).square().sum(dim=1)
    both = powers[rows].diff().unfold(0, 2, 1).sum(dim=1)
    return float((changes / both)[both > 0].median())


def _without_momentum(increments: Tensor, rule: StepRule, spacing: int) -> Tensor:
    """What is new in each increment but the first."""
    new = increments[1:] - rule.momentum**spacing * increments[:-1]
    if rule.nesterov and spacing == 1:
        new[0] /= 1 + rule.momentum
        for earlier, here in itertools.pairwise(new):
            here.add_(earlier, alpha=rule.momentum).div_(1 + rule.momentum)
    return new
