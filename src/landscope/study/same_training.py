"""Whether a training goes on at all, and in the order of the minibatches that was asked for."""

from __future__ import annotations

import hashlib

from landscope.errors import InputError
from landscope.storage.folder import ResultFolder
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.first_step import FirstStep
from landscope.study.same_rule import check_same_lengths
from landscope.study.steps_caveat import CONTINUED_STEPS
from landscope.trajectory import Trajectory

__all__ = ["CONTINUED", "check_goes_on", "lost_note", "note_steps"]

CONTINUED = "continued"
"""Name of the note of the optimiser of the training that went on with independent minibatches."""
_NOTE = "continued-ends"


def check_goes_on(folder: ResultFolder, sampling: str, continued: Trajectory) -> None:
    """Refuse a training that stands still, or is the same in two orders of the minibatches.

    Args:
        folder: Results of the run.
        sampling: Order of the minibatches that was asked for.
        continued: Recorded weights of the training that went on.

    Raises:
        InputError: If no weight moves, or another order gave the same weights bit for bit.
    """
    first, last = continued.row(0), continued.row(len(continued) - 1)
    if bool((first == last).all()):
        raise InputError(
            expected="a training that goes on", got="weights that end where they began",
            hint="train_on must train the model in its argument, with a learning rate above 0.",
        )  # fmt: skip
    _check_other_order(folder, sampling, hashlib.sha256(last.cpu().numpy().tobytes()).hexdigest())


def _check_other_order(folder: ResultFolder, sampling: str, end: str) -> None:
    ends = folder.read_note(_NOTE)
    alike = [other for other, known in ends.items() if known == end and other != sampling]
    if alike:
        raise InputError(
            expected="other minibatches in another order",
            got=f"the same weights at the end for {sampling} as for {alike[0]}",
            hint="train_on must draw the minibatches in the order that its argument sampling names. After a change "
            "call study.discard_results(), which measures all orders again.",
        )
    folder.change_note(_NOTE, {sampling: end})


def lost_note(sampling: str, analysis: Analysis) -> str:
    """The name of a note that a training which went on left and that is not there; empty where all are."""
    folder = analysis.folder
    for name in (_NOTE, CONTINUED_STEPS):
        if sampling not in folder.read_note(name):
            return name
    leaves_facts = sampling == "with-replacement" and folder.has(saved.effective_curvature(sampling, "modes").name)
    return CONTINUED if leaves_facts and not folder.read_note(CONTINUED) else ""


def note_steps(analysis: Analysis, sampling: str, continued: Trajectory, first: FirstStep) -> None:
    """Refuse steps of another length than the recorded ones, and keep what is known of them for the page.

    Args:
        analysis: The analysis of the recorded run.
        sampling: Order of the minibatches.
        continued: Recorded weights of the training that went on, at the distance of the recorded rows.
        first: Its first step.

    Raises:
        InputError: If the steps have another length.
    """
    is_known = bool(analysis.facts.optimizer)
    ratio = check_same_lengths(analysis.window, continued, is_rule_known=is_known)
    found = {"rule": is_known, "gradient": first.unknown, "length": ratio}
    analysis.folder.change_note(CONTINUED_STEPS, {sampling: found})
