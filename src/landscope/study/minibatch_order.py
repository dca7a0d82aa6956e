"""The order of minibatches that the process of a study counts with, and why where the recording does not say."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

from landscope.directions.directions import Directions
from landscope.law.window_limit import WindowLimit
from landscope.study.analysis import Analysis
from landscope.study.relaxation import step_rule_of
from landscope.surrogates.epoch_share import EpochsFound, epoch_lengths, length_of_epochs
from landscope.trajectory import Trajectory

__all__ = ["OrderShown", "order_of_the_process", "order_shown", "why_epochs_unseen"]

_RELAXES = 0.1
"""Share of a displacement that relaxes within an epoch from which on a direction says nothing of the order."""


class OrderShown(NamedTuple):
    """The order of the minibatches that a process of the run counts with.

    Args:
        steps_per_epoch: Minibatches in an epoch over which the noise sums to zero; None where they count as
            independent.
        unknown: Why the order is not known; empty where it was stated, or the window shows it.
    """

    steps_per_epoch: int | None
    unknown: str


def order_of_the_process(limit: WindowLimit, analysis: Analysis) -> str:
    """The order in words, with what it rests on: a wrong length of the epoch hides reshuffled minibatches."""
    epoch = analysis.steps_per_epoch
    if limit.steps_per_epoch not in (None, epoch):
        return (
            f"{limit.order} (the noise sums to zero over these, not over epochs of {epoch:,} steps, as told: "
            f"pass steps_per_epoch={limit.steps_per_epoch})"
        )
    if limit.order_unknown:
        other = "reshuffled epochs would give a larger" if limit.steps_per_epoch is None else "others give a smaller"
        return f"{limit.order} (which is not known, as {limit.order_unknown}; {other} ψ∞)"
    if limit.steps_per_epoch is not None or epoch == 1:  # with one step in an epoch there is no order
        return limit.order
    if analysis.settings.minibatch_order:
        return f"{limit.order} (as minibatch_order says)"
    return f"{limit.order} (the noise does not sum to zero over epochs of about {epoch:,} steps)"


def order_shown(window: Trajectory, curvature: Directions, analysis: Analysis) -> OrderShown:
    """The order that was stated, or that the window shows.

    Args:
        window: The window, in the coordinates of the optimiser.
        curvature: Eigenvectors of the curvature with their eigenvalues.
        analysis: The analysis, with its settings.
    """
    stated, count, steps = analysis.settings.minibatch_order, analysis.steps_per_epoch, analysis.window.steps
    if count == 1 or stated == "independent":  # with one step in an epoch there is no order
        return OrderShown(None, "")
    if count is None:
        return OrderShown(None, why_epochs_unseen(steps, count))
    if stated == "reshuffled":
        return OrderShown(count, "")
    rule = step_rule_of(analysis.facts)
    # With momentum, the first increment holds what it carries over from the row before.
    unseen = why_epochs_unseen(steps[1:] if rule.momentum else steps, count)
    if unseen:
        return OrderShown(None, unseen)
    sharp = _relaxing(curvature, analysis.learning_rate * count / (1 - rule.momentum))
    found = length_of_epochs(window, sharp, count, rule=rule)
    return OrderShown(found.length, _why_open(found, count))


def _relaxing(curvature: Directions, time: float) -> Directions:
    """The directions along which more than a tenth of a displacement relaxes within an epoch; the first in any case.

    All others show the noise: in a small layer little or nothing is left outside of every measured direction.

    Args:
        curvature: Eigenvectors of the curvature with their eigenvalues.
        time: alpha M/(1 - beta), by which a direction with the eigenvalue lambda relaxes lambda times; all count if it
            is NaN.
    """
    kept = ~(time * curvature.values < _RELAXES)
    kept[0] = True
    return Directions.of(curvature.directions[kept], values=curvature.values[kept])


def _why_open(found: EpochsFound, steps_per_epoch: int) -> str:
    """Why the noise that is left over epochs says neither; empty where it does."""
    if math.isnan(found.share):
        return "the weights do not move along directions that do not relax within an epoch"
    if not found.is_open:
        return ""
    return (
        f"the noise left over epochs of {steps_per_epoch:,} steps is {found.share:.2f} of that of independent "
        'minibatches, near neither 0 nor 1: ls.Study(..., minibatch_order="reshuffled") or "independent" says it'
    )


def why_epochs_unseen(steps: Tensor, steps_per_epoch: int | None) -> str:
    """Why rows at these steps cannot show what is left over an epoch; empty where they can.

    Args:
        steps: Steps of the rows, at even distances.
        steps_per_epoch: Steps of an epoch, two or more; None where not known.
    """
    if steps_per_epoch is None:
        return "the steps in an epoch are not: ls.Study(..., steps_per_epoch=...)"
    lengths, whole = epoch_lengths(steps, steps_per_epoch)
    if whole < 2:
        return f"no rows stand at the ends of the epochs of {steps_per_epoch:,} steps"
    if lengths.count(whole) < 2:
        return f"the window holds fewer than two whole epochs of {steps_per_epoch:,} steps"
    return ""
