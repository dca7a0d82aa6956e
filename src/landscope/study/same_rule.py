"""Whether a training that goes on takes its steps by the rule of the recorded one."""

from __future__ import annotations

import math

import torch

from landscope.errors import InputError
from landscope.study.training_facts import TrainingFacts
from landscope.trajectory import Trajectory

__all__ = ["check_same_lengths", "check_same_rates", "check_same_rule"]

_OPTIONS = {
    "momentum": "momentum",
    "weight_decay": "weight decay",
    "dampening": "dampening",
    "nesterov": "nesterov",
    "maximize": "maximize",
    "beta1": "beta1 (momentum of Adam)",
    "decoupled": "decoupled weight decay",
}
_RTOL = 1e-6
_LENGTHS = 3.0
"""Steps that are longer or shorter by more than this factor are of another rule: noise of the same rule and
minibatches gives the same mean square."""
_UNKNOWN_LENGTHS = 2.0
"""The same where the optimiser of the recorded run is not known, and the lengths are the only check."""
_ROWS = 256
_HINT = "Let train_on make the optimiser of the recorded training, with its options; its rule is what is measured."


def check_same_rule(recorded: TrainingFacts, continued: TrainingFacts) -> None:
    """Refuse another optimiser, or other options of it.

    Args:
        recorded: What the recording noted of its optimiser; of an imported one nothing is known and nothing checked.
        continued: The same of the training that goes on.

    Raises:
        InputError: If they differ.
    """
    if not recorded.optimizer:
        return
    if recorded.optimizer != continued.optimizer:
        raise InputError(
            expected=f"a training that goes on with {recorded.optimizer}, as the recorded one",
            got=continued.optimizer, hint=_HINT,
        )  # fmt: skip
    for name, title in _OPTIONS.items():
        before, now = getattr(recorded, name), getattr(continued, name)
        if not math.isclose(before, now, rel_tol=_RTOL):
            raise InputError(
                expected=f"a training that goes on with the {title} of the recorded one, {before:g}",
                got=f"{now:g}", hint=_HINT,
            )  # fmt: skip


def check_same_rates(rate: float, low: float, high: float) -> None:
    """Refuse a learning rate outside those of the window.

    Args:
        rate: Learning rate of the training that goes on; NaN if it has none, or several.
        low: Smallest learning rate in the window; NaN if it is not known.
        high: Largest one.

    Raises:
        InputError: If the rate is below or above.
    """
    if math.isnan(low) or math.isnan(high) or math.isnan(rate):
        return
    if not low * (1 - _RTOL) <= rate <= high * (1 + _RTOL):
        known = f"{low:g}" if math.isclose(low, high, rel_tol=_RTOL) else f"{low:g} to {high:g}"
        raise InputError(
            expected=f"a training that goes on with the learning rate of the recorded window, {known}",
            got=f"{rate:g}",
            hint="Let train_on use the learning rate at the end of the window; after a schedule, the last one.",
        )


def check_same_lengths(recorded: Trajectory, continued: Trajectory, *, is_rule_known: bool) -> float:
    r"""Compare the root mean square of the steps, :math:`\sqrt{\langle|w_{t+1}-w_t|^2\rangle}`.

    It is alpha times that of the gradient: a gradient of a sum, other minibatches, or a clipped gradient shows in it,
    also where nothing else is known of the recorded training.

    Args:
        recorded: The window.
        continued: As many rows of the training that goes on, at the same distance in steps.
        is_rule_known: Whether the optimiser and its options were compared.

    Returns:
        The length of the continued steps over that of the recorded ones; NaN where a window has no two rows.

    Raises:
        InputError: If it is far from 1.
    """
    before, now = _step_length(recorded), _step_length(continued)
    ratio = now / before if before > 0 else math.nan
    most = _LENGTHS if is_rule_known else _UNKNOWN_LENGTHS
    if ratio > most or ratio < 1 / most:
        raise InputError(
            expected="a training that goes on with steps as long as those of the recorded window",
            got=f"steps {ratio:.3g} times as long",
            hint="Let train_on use the loss, the minibatches, the learning rate and the clipping of the recorded "
            "training.",
        )
    return ratio


def _step_length(window: Trajectory) -> float:
    """Root mean square length of the steps between up to 256 neighbouring rows, spread over the window."""
    last = len(window) - 1
    if last < 1:
        return math.nan
    starts = torch.linspace(0, last - 1, min(last, _ROWS)).round().long().unique().tolist()
    squares = [float((window.row(n + 1).double() - window.row(n).double()).square().sum()) for n in starts]
    return math.sqrt(sum(squares) / len(squares))
