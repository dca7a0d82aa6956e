"""Fig. 2: the loss along the modes, their flatness, and the inverse variance-flatness relation."""

from __future__ import annotations

import math
from collections.abc import Sequence

from landscope.claims.exponents import exponent_measurement
from landscope.claims.tolerance import SAME_EXPONENT, exponent_range
from landscope.claims.verdict import Claim, Measurement
from landscope.law.exponents import Exponents
from landscope.law.window_limit import WindowLimit

__all__ = ["CLAIMS", "law_measurements"]

CLAIMS = (
    Claim(
        "inverse_gaussian",
        "Fig. 2B",
        "Near the minimum ln L is closer to a quadratic than L is (ratio of residuals, median of modes).",
        "better",
        (0.0, 1.0),
        "below one is better",
        possible=(0.0, math.inf),
    ),
    Claim(
        "flatness_rises",
        "Fig. 2C",
        "Flatness rises with rank (Spearman correlation).",
        "increases",
        (0.5, 1.0),
        "a clear monotone trend",
        possible=(-1.0, 1.0),
    ),
    Claim(
        "psi",
        "Fig. 2D, Eq. 8",
        "The variance falls with flatness as a power law.",
        "about 4",
        exponent_range(4.0),
        SAME_EXPONENT,
        "psi in a window without end and in fresh data; the finite-window process and shuffled increments beside them",
    ),
)


def law_measurements(
    in_sample: Exponents,
    fresh: Exponents | None,
    nulls: Sequence[Exponents],
    processes: Sequence[Exponents],
    limit: WindowLimit | None,
    residual_ratio: float,
) -> dict[str, Measurement]:
    """Measure the claims of Fig. 2 in one run, with exponents as in :func:`exponent_measurement`.

    The ratio is the residual of the inverse Gaussian over that of the quadratic, median over drawn modes.
    """
    return {
        "inverse_gaussian": Measurement(residual_ratio),
        "flatness_rises": Measurement(in_sample.rank_correlation),
        "psi": exponent_measurement("psi", in_sample, fresh, nulls, processes, limit),
    }
