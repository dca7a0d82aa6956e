"""Nulls of one-sided claims: a null beyond the value explains it as well as an equal one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from landscope.claims.exponents import NULL_NAME, no_band, process_control
from landscope.claims.verdict import Control
from landscope.law.intervals import EVERYWHERE, Range, prediction_band

__all__ = ["ONE_SIDED", "POSSIBLE", "drawn_controls", "one_sided"]

ONE_SIDED = {"first_mode": "large", "plateau": "small", "faster_decay": "large", "short_correlation_time": "small",
             "flatness_rises": "large", "tau_counts_minibatches": "large", "inverse_einstein": "large"}  # fmt: skip
"""Claims with nulls that are drawn, each with the values that are claimed."""
POSSIBLE: dict[str, Range] = {
    "first_mode": (0.0, 1.0), "short_correlation_time": (0.0, math.inf), "tau_counts_minibatches": (-1.0, 1.0),
    "flatness_rises": (-1.0, 1.0),
}  # fmt: skip
"""Smallest and largest value that a null of these claims can have; any number for the others."""


def one_sided(key: str, control: Control) -> Control:
    """The control with a band that is open towards what the null explains too; as it is for other claims.

    Args:
        key: Key of the claim.
        control: A null with the band of its draws.

    Example:
        >>> one_sided("plateau", Control("a null", (-1.0, 2.0), "differ")).band
        (-1.0, inf)
    """
    if key not in ONE_SIDED or not control.was_measured:
        return control
    low, high = control.band
    band = (low, math.inf) if ONE_SIDED[key] == "small" else (-math.inf, high)
    return dataclasses.replace(control, band=band, finding=control.finding or f"gives {low:.3g} to {high:.3g}")


def drawn_controls(
    key: str, nulls: Sequence[float], processes: Sequence[float], *, answered_by: str = ""
) -> tuple[Control, Control]:
    """The finite-window process and the shuffled increments of one run.

    Args:
        key: Key of the claim.
        nulls: Values under shuffled increments.
        processes: Values under draws of the finite-window process.
        answered_by: Name of the control that decides in place of both.
    """
    possible = POSSIBLE.get(key, EVERYWHERE)
    band = prediction_band([value for value in nulls if not math.isnan(value)], possible=possible)
    shuffled = Control(NULL_NAME, band, "differ", no_band(nulls), answered_by)
    process = process_control(processes, answered_by=answered_by, possible=possible)
    return one_sided(key, process), one_sided(key, shuffled)
