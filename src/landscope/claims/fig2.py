"""Fig. 2: the landscape along the modes and the variance-flatness law, in-sample, in fresh data, and under the null."""

from __future__ import annotations

import math
from collections.abc import Sequence

from landscope.claims.verdict import Control, Measurement
from landscope.law.exponents import Exponents
from landscope.law.intervals import prediction_band
from landscope.law.spectrum import Spectrum
from landscope.noise.mode_statistics import random_walk_drift_share

__all__ = ["NULL_NAME", "few_modes_control", "measurements"]

NULL_NAME = "the shuffled-increment null"


def measurements(
    found: Spectrum,
    own: Exponents,
    fresh: Exponents | None,
    nulls: Sequence[Exponents],
    residual_ratio: float,
) -> dict[str, Measurement]:
    """What one run says on each claim of Figs. 1 and 2, and on the exponents of Fig. 3B.

    Args:
        found: The spectrum.
        own: Exponents of the window along its own modes.
        fresh: Exponents of the fresh data along the same modes.
        nulls: Exponents of shuffled-increment surrogates.
        residual_ratio: Median over drawn modes of the residual of the inverse Gaussian over that of the quadratic.

    Returns:
        Measurements by claim.
    """
    walk_share = random_walk_drift_share()
    others = found.drift_share[1 : own.mode_range[1]]
    chance = 1.96 / math.sqrt(found.dim)

    def exponent(key: str, null: Control) -> Measurement:
        value = math.nan if fresh is None else getattr(fresh, key)
        controls = (null, Control("the same modes in fresh data", (value, value), "agree"))
        return Measurement(getattr(own, key), getattr(own, f"{key}_interval"), controls)

    def shuffled(key: str) -> Control:
        return Control(NULL_NAME, prediction_band([getattr(null, key) for null in nulls]), "differ", no_band)

    no_band = "" if len(nulls) > 1 else "has no band with fewer than two surrogates"
    # D holds no memory, so shuffling keeps what makes psi_D: its null is noise of one strength in all directions.
    isotropic = Control("isotropic noise", (0.0, 0.0), "differ", "has 0 exactly")
    return {
        **{key: exponent(key, shuffled(key)) for key in ("gamma", "psi", "psi_tau")},
        "psi_D": exponent("psi_D", isotropic),
        "modes_for_90_percent": Measurement(
            found.modes_for_90_percent,
            controls=(few_modes_control([null.modes_for_90_percent for null in nulls], found.dim),),
        ),
        "drift_share": Measurement(
            float(found.drift_share[0]),
            controls=(
                Control(
                    "the first mode of a driftless random walk", (0.0, walk_share), "differ", f"has {walk_share:.2f}"
                ),
            ),
        ),
        "alignment": Measurement(
            found.alignment,
            controls=(Control("a random direction", (0.0, chance), "differ", f"stays below {chance:.2f} (95 %)"),),
        ),
        "diffusion_share": Measurement(float(others.nanmedian()) if len(others) else math.nan),
        "inverse_gaussian": Measurement(residual_ratio),
        "flatness_rises": Measurement(own.rank_correlation),
    }


def few_modes_control(null: Sequence[float], dim: int) -> Control:
    """Low dimension shows as fewer modes than the null needs: its band reaches up to all N."""
    low, _ = prediction_band([float(count) for count in null])
    if len(null) < 2:
        return Control(NULL_NAME, (math.nan, math.nan), "differ", "has no band with fewer than two surrogates")
    needs = f"needs {' to '.join(f'{count:.0f}' for count in sorted({min(null), max(null)}))}"
    return Control(NULL_NAME, (low, float(dim)), "differ", needs)
