"""Fig. 1: the spectrum of the window, the drift along the first mode, the diffusion along the others."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from landscope.claims.exponents import NULL_NAME, PROCESS_NAME, exponent_measurement, no_band
from landscope.claims.median import median_of
from landscope.claims.tolerance import exponent_range
from landscope.claims.verdict import Claim, Control, Measurement, fresh_control, joined
from landscope.law.exponents import Exponents
from landscope.law.intervals import prediction_band
from landscope.law.spectrum import PAPER_MODES, Spectrum, too_few_ranks
from landscope.noise.mode_statistics import ModeStatistics, random_walk_drift_share

__all__ = ["CLAIMS", "few_modes_control", "spectrum_measurements"]

_PRINTED = 35
"""Rank of the caption of Fig. 1B, of 2,500."""
_MOST_SHARE = 2 * _PRINTED / PAPER_MODES
_LEAST_RANK = 2
"""The first rank that counts: mode 1 is left out."""

CLAIMS = (
    Claim(
        "gamma",
        "Fig. 1A",
        "The variance falls with rank as a power law over the ranks fitted, 20 to 200 of 2,500 in the paper.",
        "about 2.6 (2 to 3)",
        exponent_range(2.5),
        "the caption's range, the tolerance of every exponent",
        "in-sample against the finite-window process, fresh data and shuffled increments; the limit of a window without"
        " end is a law of the flatness, not of the rank, and has no gamma",
    ),
    Claim(
        "modes_for_90_percent",
        "Fig. 1B",
        "Without the first mode, 90 % of the variance lies in few modes (share of all modes that the window has).",
        "35 of 2,500, 1.4 %",
        (0.0, _MOST_SHARE),
        "twice the paper's share at most; the paper gives one run without a spread",
        "as many modes of the finite-window process and of shuffled-increment surrogates",
        possible=(0.0, 1.0),
    ),
    Claim(
        "drift_share",
        "Fig. 1C",
        "The run drifts steadily along the first mode, for much longer than an epoch (share of one-way motion).",
        "persistent",
        (0.5, 1.0),
        "half of the squared epoch displacements in one direction",
        "the first mode of a random walk, and the same direction in fresh data, which did not choose it",
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
        "the same modes in fresh data: later modes of a window have no drift by construction",
        possible=(0.0, 1.0),
    ),
)


def spectrum_measurements(
    spectrum: Spectrum,
    in_sample: Exponents,
    fresh: Exponents | None,
    nulls: Sequence[Exponents],
    processes: Sequence[Exponents],
    following: ModeStatistics | None = None,
) -> dict[str, Measurement]:
    """Measure the claims of Fig. 1 in one run, with exponents as in :func:`exponent_measurement`.

    Scores of principal modes are uncorrelated over the window that they are of. A drift fills the first mode, so the
    others hardly have one, whatever the run does: only other rows along the same modes tell.

    Args:
        spectrum: The spectrum of the window.
        in_sample: Exponents of the window along its own modes.
        fresh: Exponents of the fresh data along the same modes; None if there are none.
        nulls: Exponents of shuffled-increment surrogates.
        processes: Exponents of draws of the finite-window process.
        following: Statistics of the fresh data along the same modes; None if there are none.
    """
    walk_share = random_walk_drift_share()
    chance = 1.96 / math.sqrt(spectrum.dim)
    walk = Control("the first mode of a driftless random walk", (0.0, walk_share), "differ", f"has {walk_share:.2f}")
    random = Control("a random direction", (0.0, chance), "differ", f"stays below {chance:.2f} (95 %)")
    others = spectrum.drift_share[1 : in_sample.mode_range[1]]
    later = math.nan if following is None else median_of(following.drift_share[1 : in_sample.mode_range[1]])
    drifting = math.nan if following is None else float(following.drift_share[0])
    return {
        "gamma": _gamma(spectrum, exponent_measurement("gamma", in_sample, fresh, nulls, processes)),
        "modes_for_90_percent": _few_modes(spectrum, nulls, processes),
        "drift_share": Measurement(
            float(spectrum.drift_share[0]), controls=(walk, fresh_control(drifting, "the same direction in fresh data"))
        ),
        "alignment": Measurement(spectrum.alignment, controls=(random,)),
        "diffusion_share": Measurement(median_of(others), controls=(fresh_control(later),)),
    }


def _gamma(spectrum: Spectrum, measured: Measurement) -> Measurement:
    """Gamma, with the reason where the window has too few modes for it."""
    reason = too_few_ranks(spectrum.spectrum_ranks, spectrum.n_modes)
    return dataclasses.replace(measured, note=joined(measured.note, reason)) if math.isnan(measured.value) else measured


def _few_modes(spectrum: Spectrum, nulls: Sequence[Exponents], processes: Sequence[Exponents]) -> Measurement:
    """The share of modes that hold 90 %, or why a window with so few modes has none."""
    count, modes = spectrum.modes_for_90_percent, spectrum.n_modes
    if modes * _MOST_SHARE < _LEAST_RANK:
        note = (
            f"the window has {modes} modes, and {100 * _MOST_SHARE:.1f} % of them is less than {_LEAST_RANK}: it takes "
            f"{math.ceil(_LEAST_RANK / _MOST_SHARE)} at least"
        )
        return Measurement(math.nan, note=note)
    controls = (few_modes_control(count, processes, modes, PROCESS_NAME), few_modes_control(count, nulls, modes))
    return Measurement(count / modes, controls=controls, note=f"{count} of {modes} modes")


def few_modes_control(own: float, nulls: Sequence[Exponents], modes: int, name: str = NULL_NAME) -> Control:
    """The null of a share of modes: low dimension shows as fewer modes, so its band reaches up to all of them.

    Where the modes of a surrogate hold too little, its number is "at least": it tells fewer modes, and no others.

    Args:
        own: Number of modes of the run.
        nulls: Exponents of surrogates, or of draws of the finite-window process.
        modes: Number of modes that the window has.
        name: Name of the null.
    """
    if len(nulls) < 2:
        few = no_band(nulls) if name == NULL_NAME or nulls else ""
        return Control(name, (math.nan, math.nan), "differ", few)
    counts = [float(null.modes_for_90_percent) for null in nulls]
    at_least = any(null.modes_for_90_percent_is_bound for null in nulls)
    low, _ = prediction_band(counts, possible=(0.0, math.inf))
    band = (math.nan, math.nan) if at_least and own >= low else (low / modes, 1.0)
    between = " to ".join(f"{count:.0f}" for count in sorted({min(counts), max(counts)}))
    finding = f"needs at least {min(counts):.0f}" if at_least else f"needs {between}"
    return Control(name, band, "differ", finding)
