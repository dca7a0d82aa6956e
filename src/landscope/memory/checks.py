"""Checks before a task is consolidated; each raises an error."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.errors import InputError
from landscope.risk.empirical import EmpiricalRisk
from landscope.trajectory import Trajectory

__all__ = ["check_is_at_end"]


def check_is_at_end(risk: EmpiricalRisk, weights: Float[Tensor, " N"], rows: Trajectory | None) -> None:
    """Raise if a risk was made before the end of the training: its weights are those that a penalty would hold.

    Args:
        risk: The risk of the task.
        weights: The weights of the model now.
        rows: The recorded weights of the task, whose last row is the end of the training.

    Raises:
        InputError: If the weights of the risk are neither of these.
    """
    at_end = [weights] if rows is None else [weights, rows.weights[-1]]
    if not any(torch.equal(risk.w0.cpu(), end.detach().to("cpu", risk.w0.dtype)) for end in at_end):
        away = float(torch.dist(risk.w0.cpu(), weights.detach().to("cpu", risk.w0.dtype)))
        raise InputError(
            expected="a risk at the weights where the training of the task ended",
            got=f"a risk at other weights, at a distance of {away:.3g} from those of the model now",
            hint="A risk keeps the weights that the model has when the risk is made. Make it after the training. To "
            "hold averaged weights, call memory.consolidate(criterion, data, w0=averaged).",
        )
