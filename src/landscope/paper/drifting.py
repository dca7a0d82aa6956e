"""S1 and S2: the two phases, the drift along the first mode, and what it does to loss, margin and test error."""

from __future__ import annotations

import dataclasses

from jaxtyping import Float
from torch import Tensor

from landscope.noise.drift import DriftLaw, Phases
from landscope.paper.claims import Control, Measurement
from landscope.results import Result

__all__ = ["Activity", "AlongDrift", "drift_measurements"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class AlongDrift(
    Result,
    kind="paper_along_drift",
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
        window_way: How far theta_1 went in the window.
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
    window_way: float
    beta_slope: float
    beta_ensemble: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Activity(
    Result, kind="paper_activity", dims=dict.fromkeys(("steps", "dimension", "dimension_without_drift"), ("window",))
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


def drift_measurements(law: DriftLaw, along: AlongDrift, phases: Phases) -> dict[str, Measurement]:
    """What the drift says on the claims of S1 and S2.

    Args:
        law: 1/L over the windows.
        along: The walk along p_1.
        phases: The two phases.

    Returns:
        Measurements by claim.
    """
    growth = float((along.margin[-1] - along.margin[0]) / along.margin[0])
    own = float((along.relative_margin[-1] - along.relative_margin[0]) / along.relative_margin[0])
    change = 100 * float(along.test_error[-1] - along.test_error[0])
    two = "two phases are seen" if phases.two_phases else "no two phases are seen"
    return {
        "logarithmic_drift": Measurement(
            law.r_squared,
            controls=(
                # As straight as ln L or less: then the line is no sign of this law.
                Control("ln L", (0.0, law.r_squared_exponential), "differ",
                        f"is straight to {law.r_squared_exponential:.3f}"),
            ),
            note=(
                f"the slope is {law.ratio:.3g} times alpha beta^2 (1 where nothing but p_1 moves); "
                f"beta is {along.beta_slope:.3g} from the line and {along.beta_ensemble:.3g} as E[g_1]; {two}"
            ),
        ),
        "margin": Measurement(
            growth,
            note=(
                f"relative to the norm of the weights {100 * own:+.2g} %; "
                f"the test error changes by {change:+.2f} points on the way"
            ),
        ),
    }  # fmt: skip
