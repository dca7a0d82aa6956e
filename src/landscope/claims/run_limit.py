"""The claim that a run decides in a window without end."""

from __future__ import annotations

import math

from landscope.claims.tolerance import SAME_EXPONENT, exponent_range
from landscope.claims.verdict import Claim, Measurement, joined
from landscope.law.run_limit import RunLimit
from landscope.law.time_blocks import FEWEST_BLOCKS

__all__ = ["CLAIMS", "limit_measurements"]

CLAIMS = (
    Claim(
        "psi_infinity_of_run",
        "Fig. 2D, Eq. 8",
        "The variance falls with flatness in a window without end too (psi_infinity of the run, along eigenvectors of"
        " the curvature).",
        "about 4",
        exponent_range(4.0),
        SAME_EXPONENT,
        "the force of all weights, D/(2 alpha lambda_eff), checked against growing windows",
    ),
)


def limit_measurements(limit: RunLimit, source: str = "") -> dict[str, Measurement]:
    """Measure psi_infinity of the run; NaN with the reason where it is not identified.

    Args:
        limit: The limit along eigenvectors of the curvature.
        source: What it was measured in, in words.
    """
    shares = ", ".join(
        f"{share:.2g} with {name}"
        for name, share in (("lambda_eff", limit.amplitude), ("H_ii", limit.amplitude_local))
        if not math.isnan(share)
    )
    return {
        "psi_infinity_of_run": Measurement(
            limit.psi_infinity,
            limit.psi_infinity_interval,
            freedom=FEWEST_BLOCKS - 1,
            note=joined(
                source and f"measured in {source}",
                f"not identified: {limit.reason}" if limit.reason else "",
                f"variance over the formula in the whole window (median): {shares}" if shares else "",
            ),
        )
    }
