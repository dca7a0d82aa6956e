"""Results about the drift along the first mode and the number of active modes (paper, SI sections S1 and S2)."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.results import Result

__all__ = ["Activity", "DriftPath"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DriftPath(
    Result,
    kind="drift_path",
    dims=dict.fromkeys(
        ("displacements", "loss", "margin", "relative_margin", "test_loss", "test_error", "train_error"), ("point",)
    )
    | {"random_train_error": ("draw",)},
):
    """Loss, margin and errors on a path from w0 along the first mode, in the direction of the run.

    Args:
        displacements: Displacement of theta_1 from w0, positive in the direction of the run, ``[points]``.
        loss: Training loss.
        margin: Mean over training samples of the right output minus the largest wrong output.
        relative_margin: Margin over the norm of the recorded weights, which does not grow with the weights alone.
        train_error: Fraction of wrong answers on the training set.
        test_loss: Loss on the test set.
        test_error: Fraction of wrong answers on the test set.
        window_displacement: Displacement of theta_1 in the window.
        beta_slope: Slope of ln L along p_1 at w0, from differences along the line.
        beta_ensemble: The same slope as E[g_1] from the minibatch losses; both must agree.
        random_train_error: Fraction of wrong answers on the training set after a step as long as the drift in random
            directions of the recorded weights, ``[draws]``; empty where it was not measured.
    """

    displacements: Float[Tensor, " points"]
    loss: Float[Tensor, " points"]
    margin: Float[Tensor, " points"]
    relative_margin: Float[Tensor, " points"]
    train_error: Float[Tensor, " points"]
    test_loss: Float[Tensor, " points"]
    test_error: Float[Tensor, " points"]
    window_displacement: float
    beta_slope: float
    beta_ensemble: float
    random_train_error: Float[Tensor, " draws"] = dataclasses.field(
        default_factory=lambda: torch.zeros(0, dtype=torch.float64)
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Activity(
    Result, kind="activity", dims=dict.fromkeys(("steps", "dimension", "dimension_without_drift"), ("window",))
):
    """Number of active modes in each window of a recording.

    Args:
        steps: Last step of each window.
        dimension: Dimension D_l, the number of modes with the given fraction of the variance of the window.
        dimension_without_drift: Dimension D_l without the first mode of the window.
        fraction: Fraction of the variance.
        rows: Number of rows in a window.
    """

    steps: Float[Tensor, " windows"]
    dimension: Float[Tensor, " windows"]
    dimension_without_drift: Float[Tensor, " windows"]
    fraction: float
    rows: int
