"""S1 and S2: the two phases, the drift along the first mode, and what it does to loss, margin and test error."""

from __future__ import annotations

from landscope.claims.verdict import Control, Measurement
from landscope.noise.drift import DriftLaw, Phases
from landscope.noise.drift_path import DriftPath

__all__ = ["drift_claims", "margin_claims"]


def drift_claims(law: DriftLaw, path: DriftPath, phases: Phases) -> dict[str, Measurement]:
    """Whether the loss falls as a drift along the first mode makes it fall.

    Args:
        law: 1/L over the windows.
        path: Losses along the first mode.
        phases: The two phases of learning.
    """
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
                f"beta is {path.beta_slope:.3g} from the line and {path.beta_ensemble:.3g} as E[g_1]; {two}"
            ),
        )
    }  # fmt: skip


def margin_claims(path: DriftPath) -> dict[str, Measurement]:
    """Whether the margin grows along the drift.

    Args:
        path: Margins and errors along the first mode.
    """
    growth = float((path.margin[-1] - path.margin[0]) / path.margin[0])
    own = float((path.relative_margin[-1] - path.relative_margin[0]) / path.relative_margin[0])
    change = 100 * float(path.test_error[-1] - path.test_error[0])
    return {
        "margin": Measurement(
            growth,
            note=(
                f"relative to the norm of the weights {100 * own:+.2g} %; "
                f"the test error changes by {change:+.2f} points on the way"
            ),
        )
    }
