"""Sections S1 and S2: two phases of learning, the drift along the first mode, its effect on loss and margin."""

from __future__ import annotations

import math

from torch import Tensor

from landscope.claims.median import median_of
from landscope.claims.verdict import Claim, Control, Measurement, fresh_control
from landscope.noise.drift import DriftLaw, Phases
from landscope.noise.drift_path import DriftPath
from landscope.noise.velocity import VelocityStatistics

__all__ = ["CLAIMS", "drift_measurements", "margin_measurements", "memory_measurements"]

CLAIMS = (
    Claim(
        "short_memory",
        "Fig. 1D, text",
        "Along the other modes velocities forget within an epoch (median correlation of the"
        " displacements of successive epochs).",
        "shorter than one epoch",
        (-0.6, 0.25),
        "0 for free diffusion, -1/2 where every epoch ends at an independent place: both forget",
        "the same modes in fresh data: later modes of a window turn back by construction",
        possible=(-1.0, 1.0),
    ),
    Claim(
        "persistence",
        "Fig. 1C, text",
        "Along the first mode the velocity persists for much longer than an epoch (the same correlation).",
        "much longer than one epoch",
        (0.5, 1.0),
        "half at least",
        "the same direction in fresh data",
        possible=(-1.0, 1.0),
    ),
    Claim(
        "logarithmic_drift",
        "S2",
        "1/L grows linearly with time (R^2 over both windows).",
        "a speed proportional to L",
        (0.95, 1.0),
        "a twentieth of the variance unexplained at most",
        "1/L against ln L: which is the straighter line",
        possible=(0.0, 1.0),
    ),
    Claim(
        "margin",
        "text below Fig. 1",
        "Along the drift the margin of the answers grows (relative growth over the path of the window).",
        "increasing",
        (0.0, 10.0),
        "the sign",
    ),
)


def drift_measurements(law: DriftLaw, path: DriftPath, phases: Phases) -> dict[str, Measurement]:
    """Measure whether 1/L grows linearly, as a drift along the first mode makes it grow."""
    # If ln L is as straight, the straight line is no sign of this law.
    exponential = law.r_squared_exponential
    straight = Control("ln L", (0.0, exponential), "differ", f"is straight to {exponential:.3f}")
    two = "two phases are seen" if phases.two_phases else "no two phases are seen"
    return {
        "logarithmic_drift": Measurement(
            law.r_squared,
            controls=(straight,),
            note=f"the slope is {law.ratio:.3g} times alpha beta^2 (1 where nothing but p_1 moves); "
            f"beta is {path.beta_slope:.3g} from the line and {path.beta_ensemble:.3g} as E[g_1]; {two}",
        )
    }


def margin_measurements(path: DriftPath) -> dict[str, Measurement]:
    """Measure whether the margin grows along the drift."""
    growth, own = _growth(path.margin), _growth(path.relative_margin)
    change = 100 * float(path.test_error[-1] - path.test_error[0])
    return {
        "margin": Measurement(
            growth,
            note=f"relative to the norm of the weights {100 * own:+.2g} %; "
            f"the test error changes by {change:+.2f} points on the way",
        )
    }


def _growth(margin: Tensor) -> float:
    """Growth relative to the size at the start, where a margin may be negative: some answer is wrong."""
    return float((margin[-1] - margin[0]) / margin[0].abs())


def memory_measurements(
    velocity: VelocityStatistics,
    null: VelocityStatistics,
    fresh: VelocityStatistics | None,
    mode_range: tuple[int, int],
    n_measured: int,
) -> dict[str, Measurement]:
    """Measure how long velocities persist, along the first mode and along the others.

    Args:
        velocity: Velocities of the window along all modes.
        null: Velocities of a shuffled-increment surrogate along its first mode.
        fresh: Velocities of the fresh data along the same modes; None where there are none.
        mode_range: First and last mode of the median.
        n_measured: Number of modes with a measured flatness.
    """
    used = slice(mode_range[0] - 1, min(mode_range[1], n_measured))
    value = math.nan if fresh is None else float(fresh.persistence[0])
    later = math.nan if fresh is None else median_of(fresh.persistence[used])
    return {
        "short_memory": Measurement(median_of(velocity.persistence[used]), controls=(fresh_control(later),)),
        "persistence": Measurement(
            float(velocity.persistence[0]),
            controls=(fresh_control(value, "the same direction in fresh data"),),
            note=f"PCA alone gives the first mode of shuffled increments {float(null.persistence[0]):.2f}",
        ),
    }
