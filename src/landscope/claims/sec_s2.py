"""S1 and S2: the two phases, the drift along the first mode, and what it does to loss, margin and test error."""

from __future__ import annotations

from landscope.claims.verdict import Control, Measurement
from landscope.noise.drift import DriftLaw, Phases
from landscope.noise.drift_path import DriftPath

__all__ = ["drift_measurements"]


def drift_measurements(law: DriftLaw, along: DriftPath, phases: Phases) -> dict[str, Measurement]:
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
