"""Fig. 2: the loss along the modes, their flatness, and the inverse variance-flatness relation."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from landscope.claims.exponents import (
    LIMIT_NAME,
    NULL_NAME,
    exponent_measurement,
    no_band,
    process_control,
    why_limit_unidentified,
)
from landscope.claims.one_sided import POSSIBLE, one_sided
from landscope.claims.tolerance import SAME_EXPONENT, exponent_range
from landscope.claims.verdict import Claim, Control, Measurement, fresh_control
from landscope.law.exponents import Exponents
from landscope.law.intervals import prediction_band
from landscope.law.window_limit import WindowLimit
from landscope.rank_correlation import rank_correlation

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
        "flatness against the variance in a window without end and in fresh data; the finite-window process and"
        " shuffled increments beside them",
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
        "flatness_rises": _flatness_rises(in_sample, fresh, nulls, processes, limit),
        "psi": exponent_measurement("psi", in_sample, fresh, nulls, processes, limit),
    }


def _flatness_rises(
    in_sample: Exponents,
    fresh: Exponents | None,
    nulls: Sequence[Exponents],
    processes: Sequence[Exponents],
    limit: WindowLimit | None,
) -> Measurement:
    """The rank correlation of flatness with rank, in which order of variance and length of the window both show.

    Where all directions have one variance in a window without end, those that relax slowly show less of it in any
    window that ends, and flatness rises with rank all the same.
    """
    possible = POSSIBLE["flatness_rises"]
    along = fresh_control(math.nan if fresh is None else _falling(fresh.variance[fresh.used], fresh.width[fresh.used]))
    band = prediction_band([row.rank_correlation for row in nulls], possible=possible)
    made = (
        process_control([row.rank_correlation for row in processes], answered_by=LIMIT_NAME, possible=possible),
        Control(NULL_NAME, band, "differ", no_band(nulls), answered_by=along.name),
    )
    drawn = (one_sided("flatness_rises", control) for control in made)
    return Measurement(in_sample.rank_correlation, controls=(_limit(limit), *drawn, along))


def _limit(limit: WindowLimit | None) -> Control:
    if limit is None or math.isnan(limit.psi_infinity):
        return Control(LIMIT_NAME, (math.nan, math.nan), "agree")
    value = _falling(limit.limit[limit.used], limit.width[limit.used])
    return Control(LIMIT_NAME, (value, value), "agree", unidentified=why_limit_unidentified(limit))


def _falling(variance: Float[Tensor, " n"], width: Float[Tensor, " n"]) -> float:
    """Rank correlation of flatness with the rank by falling variance; NaN for fewer than three directions."""
    return -rank_correlation(variance, width)
