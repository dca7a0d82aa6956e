"""Fig. 1: the spectrum of the window, the drift along the first mode, the diffusion along the others."""

from __future__ import annotations

import math
from collections.abc import Sequence

from landscope.claims.exponents import NULL_NAME, exponent_measurement, no_band
from landscope.claims.tolerance import exponent_range
from landscope.claims.verdict import Claim, Control, Measurement
from landscope.law.exponents import Exponents
from landscope.law.intervals import prediction_band
from landscope.law.spectrum import Spectrum
from landscope.noise.mode_statistics import random_walk_drift_share

__all__ = ["CLAIMS", "few_modes_control", "spectrum_measurements"]

CLAIMS = (
    Claim(
        "gamma",
        "Fig. 1A",
        "The variance falls with rank as a power law over the ranks fitted, 20 to 200 in the paper.",
        "about 2.6 (2 to 3)",
        exponent_range(2.5),
        "the caption's range, the tolerance of every exponent",
        "in-sample against the finite-window process, fresh data and shuffled increments; the limit of a window without"
        " end is a law of the flatness, not of the rank, and has no gamma",
    ),
    Claim(
        "modes_for_90_percent",
        "Fig. 1B",
        "Without the first mode, 90 % of the variance lies in few modes.",
        "35 of 2,500",
        (17.5, 70.0),
        "a factor of two either way; the paper gives one run without a spread",
        "variance shares against shuffled-increment surrogates and the random walk",
    ),
    Claim(
        "drift_share",
        "Fig. 1C",
        "The run drifts steadily along the first mode, for much longer than an epoch (share of one-way motion).",
        "persistent",
        (0.5, 1.0),
        "half of the squared epoch displacements in one direction",
        possible=(0.0, 1.0),
    ),
    Claim(
        "alignment",
        "Fig. 1C, text",
        "The first mode points along the weights themselves (cosine).",
        "highly aligned",
        (0.7, 1.0),
        "an angle below 45 degrees",
        possible=(0.0, 1.0),
    ),
    Claim(
        "diffusion_share",
        "Fig. 1D",
        "Along the other modes the run wanders without drift (median share of one-way motion).",
        "diffusive",
        (0.0, 0.25),
        "a quarter of the squared epoch displacements in one direction, at most",
        possible=(0.0, 1.0),
    ),
)


def spectrum_measurements(
    spectrum: Spectrum,
    in_sample: Exponents,
    fresh: Exponents | None,
    nulls: Sequence[Exponents],
    processes: Sequence[Exponents],
) -> dict[str, Measurement]:
    """Measure the claims of Fig. 1 in one run, with exponents as in :func:`exponent_measurement`."""
    walk_share = random_walk_drift_share()
    chance = 1.96 / math.sqrt(spectrum.dim)
    walk = Control("the first mode of a driftless random walk", (0.0, walk_share), "differ", f"has {walk_share:.2f}")
    random = Control("a random direction", (0.0, chance), "differ", f"stays below {chance:.2f} (95 %)")
    others = spectrum.drift_share[1 : in_sample.mode_range[1]]
    few = few_modes_control(spectrum.modes_for_90_percent, nulls, spectrum.dim)
    return {
        "gamma": exponent_measurement("gamma", in_sample, fresh, nulls, processes),
        "modes_for_90_percent": Measurement(spectrum.modes_for_90_percent, controls=(few,)),
        "drift_share": Measurement(float(spectrum.drift_share[0]), controls=(walk,)),
        "alignment": Measurement(spectrum.alignment, controls=(random,)),
        "diffusion_share": Measurement(float(others.nanmedian()) if len(others) else math.nan),
    }


def few_modes_control(own: float, nulls: Sequence[Exponents], dim: int) -> Control:
    """The null of a number of modes: low dimension shows as fewer modes, so its band reaches up to all N.

    Where the modes of a surrogate hold too little, its number is "at least": it tells fewer modes, and no others.

    Args:
        own: Number of modes of the run.
        nulls: Exponents of shuffled-increment surrogates.
        dim: Number of weights, N.
    """
    if len(nulls) < 2:
        return Control(NULL_NAME, (math.nan, math.nan), "differ", no_band(nulls))
    counts = [float(null.modes_for_90_percent) for null in nulls]
    at_least = any(null.modes_for_90_percent_is_bound for null in nulls)
    low, _ = prediction_band(counts)
    band = (math.nan, math.nan) if at_least and own >= low else (low, float(dim))
    between = " to ".join(f"{count:.0f}" for count in sorted({min(counts), max(counts)}))
    finding = f"needs at least {min(counts):.0f}" if at_least else f"needs {between}"
    return Control(NULL_NAME, band, "differ", finding)
