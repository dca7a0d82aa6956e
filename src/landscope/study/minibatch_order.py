"""The order of minibatches that the process of a study counts with, and why where the recording does not say."""

from __future__ import annotations

from torch import Tensor

from landscope.law.window_limit import WindowLimit
from landscope.study.analysis import Analysis
from landscope.study.relaxation import step_rule_of
from landscope.surrogates.epoch_share import epoch_lengths

__all__ = ["order_of_the_process", "why_epochs_unseen", "why_order_unknown"]


def order_of_the_process(limit: WindowLimit, analysis: Analysis) -> str:
    """The order in words, with what it rests on: a wrong length of the epoch hides reshuffled minibatches."""
    epoch = analysis.steps_per_epoch
    if limit.steps_per_epoch not in (None, epoch):
        return (
            f"{limit.order} (the noise sums to zero over these, not over epochs of {epoch:,} steps, as told: "
            f"pass steps_per_epoch={limit.steps_per_epoch})"
        )
    if limit.steps_per_epoch is not None or epoch == 1:  # with one step in an epoch there is no order
        return limit.order
    if limit.order_unknown:
        return f"{limit.order} (which is not known, as {limit.order_unknown}; reshuffled epochs would give a larger ψ∞)"
    return f"{limit.order} (the noise does not sum to zero over epochs of about {epoch:,} steps)"


def why_order_unknown(analysis: Analysis) -> str:
    """Why the steps of the window cannot show whether minibatches were reshuffled; empty where they can."""
    steps, epoch = analysis.window.steps, analysis.steps_per_epoch
    if epoch == 1:  # there is no order
        return ""
    if step_rule_of(analysis.facts).momentum:
        steps = steps[1:]  # the first increment holds what momentum carries over from the row before it
    return why_epochs_unseen(steps, epoch)


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
