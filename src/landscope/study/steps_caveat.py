"""What a reader must know of the steps of the trainings that went on, kept in the folder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from landscope.storage.folder import ResultFolder

__all__ = ["CONTINUED_STEPS", "steps_caveat"]

CONTINUED_STEPS = "continued-steps"
"""Name of the note: for each order of the minibatches whether the optimiser was compared, why the gradient was not, and
the length of the steps."""


def steps_caveat(folder: ResultFolder) -> str:
    """What was not, or could not be, compared with the recorded training; empty where all was the same."""
    said = [text for _, note in sorted(folder.read_note(CONTINUED_STEPS).items()) if (text := _said_of(note))]
    return said[0] if said else ""


def _said_of(note: Mapping[str, Any]) -> str:
    """What is to be said of one order of the minibatches."""
    length = note["length"]
    said = []
    if not note["rule"]:
        said.append("the optimiser of the recorded training is not known, so that of train_on was not compared with it")
    if note["gradient"]:
        said.append(
            "the first step of the training that goes on (train_on) was not found to be along the gradient of the loss "
            f"on its minibatch: {note['gradient']}"
        )
    if said and length is not None and math.isfinite(length):
        said.append(f"its steps are {length:.2g} times as long as the recorded ones")
    return "; ".join(said)
