"""The measurement of an exponent: in-sample, beside the finite-window process, fresh data and shuffled increments."""

from __future__ import annotations

import math
from collections.abc import Sequence

from landscope.claims.verdict import Control, Measurement, fresh_control
from landscope.law.exponents import Exponents
from landscope.law.intervals import prediction_band

__all__ = ["NULL_NAME", "PROCESS_NAME", "exponent_measurement", "no_band"]

NULL_NAME = "the shuffled-increment null"
PROCESS_NAME = "a stationary process with the run's noise and curvature, in a window as long,"
_MADE_BY_THE_WINDOW = ("psi", "psi_tau", "gamma")
"""Exponents that the length of the window makes; psi_D the process takes from the run."""


def exponent_measurement(
    key: str,
    in_sample: Exponents,
    fresh: Exponents | None,
    nulls: Sequence[Exponents],
    processes: Sequence[Exponents],
    null: Control | None = None,
) -> Measurement:
    """One exponent of one run with its controls.

    Args:
        key: Name of the exponent: psi, psi_D, psi_tau or gamma.
        in_sample: Exponents of the window along its own modes.
        fresh: Exponents of the fresh data along the same modes; None if there are none.
        nulls: Exponents of shuffled-increment surrogates.
        processes: Exponents of finite-window processes along their own modes.
        null: Null to take in place of the surrogates.
    """
    value, interval = (math.nan, None) if fresh is None else (getattr(fresh, key), getattr(fresh, f"{key}_interval"))
    if null is None:
        null = Control(NULL_NAME, prediction_band([getattr(row, key) for row in nulls]), "differ", no_band(nulls))
    controls = [null, fresh_control(value, interval=interval)]
    if key in _MADE_BY_THE_WINDOW:
        controls.insert(0, _process_control(key, processes))
    return Measurement(getattr(in_sample, key), getattr(in_sample, f"{key}_interval"), tuple(controls))


def _process_control(key: str, processes: Sequence[Exponents]) -> Control:
    """The null of every exponent that a window without end may not have; one draw has no band."""
    band, finding = prediction_band([getattr(row, key) for row in processes]), ""
    if len(processes) == 1:
        finding = f"gives {getattr(processes[0], key):.3g} in one draw, which is no band"
    return Control(PROCESS_NAME, band, "differ", finding)


def no_band(nulls: Sequence[object]) -> str:
    """The finding of a null with too few surrogates; empty if there are enough."""
    return "" if len(nulls) > 1 else "has no band with fewer than two surrogates"
