"""The measurement of an exponent: in-sample, with what a window without end leaves of it, fresh data, and its nulls."""

from __future__ import annotations

import math
from collections.abc import Sequence

from landscope.claims.verdict import Control, Measurement, fresh_control
from landscope.law.exponents import Exponents
from landscope.law.intervals import EVERYWHERE, Range, prediction_band
from landscope.law.time_blocks import FEWEST_BLOCKS
from landscope.law.window_limit import WindowLimit
from landscope.power_law import fit_power_law
from landscope.wording import drawn_text

__all__ = [
    "ALONG_CURVATURE", "LIMIT_NAME", "NULL_NAME", "PROCESS_NAME", "exponent_measurement", "exponent_of",
    "fresh_exponent", "limit_control", "no_band", "process_control", "why_limit_unidentified",
]  # fmt: skip

NULL_NAME = "the shuffled-increment null"
PROCESS_NAME = "a stationary process with the run's noise and curvature, in a window of the same length,"
LIMIT_NAME = "its limit in a window without end, along eigenvectors of the curvature,"
ALONG_CURVATURE = "the same along eigenvectors of the curvature"
_MADE_BY_THE_WINDOW = ("psi", "psi_tau", "gamma")
"""Exponents that the length of the window makes; psi_D the process takes from the run."""
_LEAST_SHOWN = 0.9
"""Share kappa of its stationary variance that the slowest direction must show in the window. Over a decade of flatness
kappa then moves an exponent by log10(1/0.9) = 0.046 at most, less than half of the last digit that the paper prints."""


def exponent_measurement(
    key: str,
    in_sample: Exponents,
    fresh: Exponents | None,
    nulls: Sequence[Exponents],
    processes: Sequence[Exponents],
    limit: WindowLimit | None = None,
    null: Control | None = None,
) -> Measurement:
    """One exponent of one run with its controls.

    Two nulls make an exponent without its cause: the search for modes of large variance (shuffled increments), and the
    length of the window (the finite-window process). A relation that is real passes through both unchanged, so that
    they cannot tell it by a different value: the process takes noise and curvature from the run. What tells is what the
    cause cannot reach: fresh data, in which no modes were searched, and the limit of a window without end,
    psi_infinity. Each null objects only where the control that answers it was not measured or disagrees.

    Args:
        key: Name of the exponent: psi, psi_D, psi_tau or gamma.
        in_sample: Exponents of the window along its own modes.
        fresh: Exponents of the fresh data along the same modes; None if there are none.
        nulls: Exponents of shuffled-increment surrogates.
        processes: Exponents of draws of the finite-window process, each along its own modes; empty if it was not
            measured.
        limit: The limit of the window along eigenvectors of the curvature; None if it was not measured. gamma has none:
            it is the exponent of a sorted spectrum, of no law of the flatness.
        null: Null to take in place of the surrogates; nothing answers it.
    """
    along = fresh_exponent(key, fresh)
    controls = [_null_control(key, nulls, along.name) if null is None else null, along]
    if key in _MADE_BY_THE_WINDOW:
        draws = [getattr(row, key) for row in processes]
        controls.insert(0, process_control(draws, answered_by="" if key == "gamma" else LIMIT_NAME))
    # D is what it is in any window: along the curvature it is further evidence, and none is missing without it.
    if key in ("psi", "psi_tau") or (key == "psi_D" and limit is not None):
        controls.insert(0, limit_control(key, limit))
    return exponent_of(key, in_sample, tuple(controls))


def exponent_of(key: str, row: Exponents, controls: tuple[Control, ...] = (), note: str = "") -> Measurement:
    """One exponent of a row with its interval, or with the reason why it has none and how far another run may move it.

    Args:
        key: Name of the exponent: psi, psi_D, psi_tau or gamma.
        row: The row.
        controls: The same quantity under controls.
        note: Remark for the reader.
    """
    return Measurement(
        getattr(row, key), getattr(row, f"{key}_interval"), controls, note, no_interval=row.reason_of(key),
        reach=row.reach_of(key), freedom=FEWEST_BLOCKS - 1,
    )  # fmt: skip


def fresh_exponent(key: str, fresh: Exponents | None, name: str = "the same modes in fresh data") -> Control:
    """One exponent in fresh data, with its interval or how far another run may move it.

    Args:
        key: Name of the exponent.
        fresh: The row of the fresh data; None if there are none.
        name: Name of the control.
    """
    if fresh is None:
        return fresh_control(math.nan, name)
    return fresh_control(getattr(fresh, key), name, getattr(fresh, f"{key}_interval"), fresh.reach_of(key))


def _null_control(key: str, nulls: Sequence[Exponents], answer: str) -> Control:
    draws = [getattr(row, key) for row in nulls]
    band = prediction_band(draws)
    return Control(NULL_NAME, band, "differ", no_band(nulls) or drawn_text(draws, band), answered_by=answer)


def process_control(draws: Sequence[float], *, answered_by: str = "", possible: Range = EVERYWHERE) -> Control:
    """The null of every number that a window without end may not have; one draw has no band.

    Args:
        draws: The number under draws of the finite-window process.
        answered_by: Name of the control that decides in its place.
        possible: Smallest and largest possible value.
    """
    values = [value for value in draws if not math.isnan(value)]
    finding = f"gives {values[0]:.3g} in one draw; a range needs two" if len(values) == 1 else ""
    return Control(PROCESS_NAME, prediction_band(values, possible=possible), "differ", finding, answered_by=answered_by)


def limit_control(key: str, limit: WindowLimit | None) -> Control:
    """The exponent of sigma^2(infinity), of D, or of their ratio, along eigenvectors of the curvature.

    They are those of the run's own order of minibatches, as the limit is. D is measured by increments, so that it is
    the same in any window; only the other two wait for a window that is long enough.

    Args:
        key: Name of the exponent: psi, psi_D or psi_tau.
        limit: The limit; None if it was not measured.
    """
    if limit is None or math.isnan(limit.psi_infinity):
        return Control(LIMIT_NAME, (math.nan, math.nan), "agree")
    used = limit.used
    # With fixed curvature tau_infinity = sigma^2(infinity)/D has no error, and D has all of it.
    tau = -fit_power_law(limit.width[used], limit.time[used]).exponent
    if key == "psi_tau":
        band = (tau, tau)
    else:
        known = fresh_control(
            limit.psi_infinity, interval=limit.psi_infinity_interval, reach=limit.psi_infinity_reach
        ).band
        band = known if key == "psi" else (known[0] - tau, known[1] - tau)
    if key == "psi_D":
        # Increments do not feel how long the window is: it leaves no doubt, whatever it shows of the variance.
        return Control(ALONG_CURVATURE, band, "agree")
    return Control(LIMIT_NAME, band, "agree", unidentified=why_limit_unidentified(limit))


def why_limit_unidentified(limit: WindowLimit) -> str:
    """Why a window cannot show its limit: it holds too little of its slowest direction, or no order; or empty."""
    if limit.order_unknown:
        return f"the order of the minibatches is not known, as {limit.order_unknown}"
    shown = float(limit.shown[limit.used].min())
    if shown > _LEAST_SHOWN:
        return ""
    return (
        f"the window shows {100 * shown:.2g} % of the stationary variance of the slowest direction, and an exponent "
        f"takes {100 * _LEAST_SHOWN:.0f} %"
    )


def no_band(nulls: Sequence[object]) -> str:
    """The finding of a null with too few surrogates; empty if there are enough."""
    return "" if len(nulls) > 1 else "was drawn fewer than two times, and a range needs two draws"
