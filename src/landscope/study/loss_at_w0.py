"""Results of one study are made with one loss on one data set: the loss at w0 tells whether they still are the same."""

from __future__ import annotations

import math

import torch

from landscope.errors import StorageError
from landscope.landscape import Flatness
from landscope.landscape.flatness import SAME_LOSS
from landscope.landscape.lines import start_lines
from landscope.risk import EmpiricalRisk
from landscope.storage.folder import ResultFolder
from landscope.study import saved

__all__ = ["check_loss"]


def check_loss(folder: ResultFolder, risk: EmpiricalRisk) -> None:
    """Raise if the flatness in the folder, or a piece of it, was measured with another loss at w0.

    Raises:
        StorageError: If it was: the data or the loss are others now.
    """
    names = (saved.FLATNESS.name, *folder.names(saved.FLATNESS_PIECES))
    measured = next(filter(folder.has, names), None)
    if measured is None:
        return
    old, new = folder.load(measured, Flatness).loss0, _loss_at_w0(risk)
    if not math.isclose(old, new, rel_tol=SAME_LOSS):
        raise StorageError(
            expected=f"the loss at w0 with which the results in {folder.path} were made, {old:.6g}",
            got=f"{new:.6g}",
            hint="The data or the loss are others now. Pass those of the first analysis, call discard_results() to "
            "measure everything again, or choose another folder.",
        )


def _loss_at_w0(risk: EmpiricalRisk) -> float:
    """The loss as the flatness takes it: along lines, where a small loss has more digits."""
    direction = torch.zeros_like(risk.w0)[None]
    direction[0, 0] = 1
    return start_lines(risk, risk.w0, direction).loss
