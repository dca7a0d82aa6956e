"""S1 and S2: the two phases, the drift along the first mode, and what it does to loss, margin and test error."""

from __future__ import annotations

import dataclasses

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
    ),
):
    """A walk from w0 along the first mode, in the way the run goes.

    Args:
        displacements: theta_1 from w0, positive ahead, ``[points]``.
        loss: Training loss.
        margin: Mean over training samples of the right output minus the largest wrong one.
        relative_margin: The same over the norm of the recorded weights: growth of the margin that is not growth of
            the weights.
        train_error: Share of wrong answers on the training set.
        test_loss: Loss on the test set.
        test_error: Share of wrong answers there.
        window_displacement: How far theta_1 went in the window.
        beta_slope: Slope of ln L along p_1 at w0, by differences along the line.
        beta_ensemble: E[g_1] from the minibatch losses, which must equal it.
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


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Activity(
    Result, kind="activity", dims=dict.fromkeys(("steps", "dimension", "dimension_without_drift"), ("window",))
):
    """How many modes the search is active in, window after window of all that was recorded.

    Args:
        steps: Last step of each window.
        dimension: D_l: modes that hold the fraction of its variance.
        dimension_without_drift: The same without its first mode.
        fraction: That fraction.
        rows: Rows of a window.
    """

    steps: Float[Tensor, " windows"]
    dimension: Float[Tensor, " windows"]
    dimension_without_drift: Float[Tensor, " windows"]
    fraction: float
    rows: int
