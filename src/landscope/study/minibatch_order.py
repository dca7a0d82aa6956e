"""The order of minibatches that the process of a study counts with, and why where the recording does not say."""

from __future__ import annotations

import math

from torch import Tensor

from landscope.directions.directions import Directions
from landscope.law.window_limit import WindowLimit
from landscope.study.analysis import Analysis
from landscope.study.relaxation import step_rule_of
from landscope.surrogates.epoch_share import EpochsFound, epoch_lengths, length_of_epochs
from landscope.trajectory import Trajectory

__all__ = ["order_of_the_process", "relaxing", "why_epochs_unseen", "why_order_unknown"]

_RELAXES = 0.1
"""Share of a displacement that relaxes within an epoch from which on a direction says nothing of the order."""
_EPOCHS_UNKNOWN = "the steps in an epoch are not: ls.Study(..., steps_per_epoch=...)"


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


def why_order_unknown(window: Trajectory, curvature: Directions, analysis: Analysis) -> str:
    """Why the window does not show whether minibatches were reshuffled; empty where it does, or where that was said.

    Args:
        window: The window, in the coordinates of the optimiser.
        curvature: The sharp directions, in which weights relax within an epoch.
        analysis: The analysis, with its settings.
    """
    rule, steps, epoch = step_rule_of(analysis.facts), analysis.window.steps, analysis.steps_per_epoch
    stated = analysis.settings.minibatch_order
    if epoch == 1 or stated == "independent":  # with one step in an epoch there is no order
        return ""
    if stated == "reshuffled":
        return "" if epoch else _EPOCHS_UNKNOWN
    if rule.momentum:
        steps = steps[1:]  # the first increment holds what momentum carries over from the row before it
    unseen = why_epochs_unseen(steps, epoch)
    if unseen or epoch is None:
        return unseen
    return _why_open(length_of_epochs(window, relaxing(curvature, analysis), epoch, rule=rule), epoch)


def relaxing(curvature: Directions, analysis: Analysis) -> Directions:
    """The directions along which weights relax within an epoch, alpha lambda M above a tenth; the first in any case.

    All others show the noise: in a small layer little or nothing is left outside of every measured direction.

    Args:
        curvature: Eigenvectors of the curvature with their eigenvalues lambda.
        analysis: The analysis, which knows alpha and M. All directions count where alpha is not known.
    """
    momentum, rates = step_rule_of(analysis.facts).momentum, analysis.window.learning_rate
    pulls = rates.max() / (1 - momentum) * curvature.values * (analysis.steps_per_epoch or 1)
    kept = ~(pulls < _RELAXES)
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
        return _EPOCHS_UNKNOWN
    lengths, whole = epoch_lengths(steps, steps_per_epoch)
    if whole < 2:
        return f"no rows stand at the ends of the epochs of {steps_per_epoch:,} steps"
    if lengths.count(whole) < 2:
        return f"the window holds fewer than two whole epochs of {steps_per_epoch:,} steps"
    return ""
