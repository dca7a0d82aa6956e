"""Nulls of one-sided claims: a null beyond the value explains it as well as an equal one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from landscope.claims.exponents import NULL_NAME, no_band, process_control
from landscope.claims.verdict import Control
from landscope.law.intervals import prediction_band
from landscope.wording import band_text, cut, drawn_text

__all__ = ["ONE_SIDED", "drawn_controls", "one_sided"]

ONE_SIDED = {"first_mode": "large", "plateau": "small", "faster_decay": "large", "short_correlation_time": "small"}
"""Claims with nulls that are drawn, each with the values that are claimed."""

_POSSIBLE = {"first_mode": (0.0, 1.0), "short_correlation_time": (0.0, math.inf)}
"""Smallest and largest possible value of the bounded ones."""


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
    found = control.finding or f"gives {band_text(_possible(key, control.band))}"
    return dataclasses.replace(control, band=band, finding=found)


def drawn_controls(key: str, nulls: Sequence[float], processes: Sequence[float]) -> tuple[Control, Control]:
    """The finite-window process and the shuffled increments of one run.

    Args:
        key: Key of the claim.
        nulls: Values under shuffled increments.
        processes: Values under draws of the finite-window process.
    """
    band = prediction_band(nulls)
    shuffled = Control(NULL_NAME, band, "differ", no_band(nulls) or drawn_text(nulls, _possible(key, band)))
    process = process_control(processes)
    if process.was_measured:
        process = dataclasses.replace(process, finding=drawn_text(processes, _possible(key, process.band)))
    return one_sided(key, process), one_sided(key, shuffled)


def _possible(key: str, band: tuple[float, float]) -> tuple[float, float]:
    return cut(band, _POSSIBLE.get(key, (-math.inf, math.inf)))
