"""The measurement of an exponent: in-sample, beside fresh data and shuffled increments."""

from __future__ import annotations

import math
from collections.abc import Sequence

from landscope.claims.verdict import Control, Measurement, fresh_control
from landscope.law.exponents import Exponents
from landscope.law.intervals import prediction_band

__all__ = ["NULL_NAME", "exponent_measurement", "no_band"]

NULL_NAME = "the shuffled-increment null"


def exponent_measurement(
    key: str,
    in_sample: Exponents,
    fresh: Exponents | None,
    nulls: Sequence[Exponents],
    null: Control | None = None,
) -> Measurement:
    """One exponent of one run with its two controls.

    Args:
        key: Name of the exponent: psi, psi_D, psi_tau or gamma.
        in_sample: Exponents of the window along its own modes.
        fresh: Exponents of the fresh data along the same modes; None if there are none.
        nulls: Exponents of shuffled-increment surrogates.
        null: Null to take in place of the surrogates.
    """
    value = math.nan if fresh is None else getattr(fresh, key)
    if null is None:
        null = Control(NULL_NAME, prediction_band([getattr(row, key) for row in nulls]), "differ", no_band(nulls))
    return Measurement(getattr(in_sample, key), getattr(in_sample, f"{key}_interval"), (null, fresh_control(value)))


def no_band(nulls: Sequence[object]) -> str:
    """The finding of a null with too few surrogates; empty if there are enough."""
    return "" if len(nulls) > 1 else "has no band with fewer than two surrogates"
