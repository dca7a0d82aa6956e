"""How the exponents depend on the modes, the window, the threshold and the direction of the regression."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.directions.directions import Directions
from landscope.landscape.flatness import Flatness
from landscope.law.exponents import Exponents, fit_exponents, measure_exponents
from landscope.noise.mode_statistics import ModeStatistics, mode_statistics
from landscope.power_law import errors_in_variables_exponent, fit_power_law
from landscope.protocols import LossLandscape
from landscope.results import Result, stamp
from landscope.trajectory import Trajectory

__all__ = ["Sensitivity", "exponents_over", "measure_sensitivity", "measured_error_ratio"]

_NOTHING = (math.nan, math.nan)


_RANGES = ((2, 50), (2, 100), (2, 200), (20, 200), (50, 500))


_EPOCHS = (1, 3, 10, 20, 50, 100)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Sensitivity(Result, kind="sensitivity", dims={"exponents": ("choice", "exponent")}):
    """The exponents under other choices: of the modes fitted, also in fresh data and under the null.

    Args:
        choices: Name of the choice in each row.
        exponents: psi, psi_D, psi_tau, ``[choices, 3]``; NaN where it does not apply.
    """

    choices: tuple[str, ...]
    exponents: Float[Tensor, "choices 3"]


def measure_sensitivity(
    landscape: LossLandscape,
    w0: Float[Tensor, " N"],
    window: Trajectory,
    everything: Trajectory,
    modes: Directions,
    widths: Flatness,
    smaller: Flatness,
    fresh: Exponents | None,
    nulls: Sequence[Exponents],
    *,
    fit_modes: tuple[int, int],
    rows_per_epoch: int | None,
    rtol: float,
) -> Sensitivity:
    """The exponents of a window under other ranges, thresholds, slopes and window lengths.

    Args:
        landscape: The risk at w0.
        w0: The end of the window.
        window: The window.
        everything: All that was recorded, for longer windows; those are measured around the same w0.
        modes: Principal modes of the window.
        widths: Flatness of the first modes.
        smaller: Flatness of the same modes at a smaller ratio.
        fresh: Exponents of the fresh data along the same modes.
        nulls: Exponents of shuffled-increment surrogates; the first is shown.
        fit_modes: Range of the law.
        rows_per_epoch: Recorded rows in an epoch; None where it is not known, and no other lengths are tried.
        rtol: Tolerance of the crossings.

    Returns:
        The table.
    """
    motion = mode_statistics(modes, window)
    own = fit_exponents("", motion, widths, fit_modes)
    rows: list[tuple[str, Exponents | tuple[float, float, float]]] = [("as reported", own)]
    tables = [
        ("in-sample", own),
        *([("fresh data", fresh)] if fresh is not None else []),
        *(("shuffled increments", null) for null in nulls[:1]),
    ]
    rows += [
        (f"modes {first} to {last}, {name}", exponents_over(found, first, last))
        for first, last in _RANGES
        if last <= len(widths.width)
        for name, found in tables
    ]
    levels = [_level(other) for other in (smaller, widths)]
    rows.append(
        (f"flatness at {levels[0]} L0 instead of {levels[1]} L0", fit_exponents("", motion, smaller, fit_modes))
    )
    rows += _slopes(own, measured_error_ratio(own, motion, widths, smaller, rtol=rtol))
    start = int((everything.steps < int(window.steps[0])).sum())
    for epochs in _EPOCHS if rows_per_epoch is not None else ():
        rows_needed = epochs * (rows_per_epoch or 1)
        last = min(fit_modes[1], rows_needed - 1)
        if (
            rows_needed in (len(window), 0)
            or not 30 <= rows_needed <= len(everything) - start
            or last < fit_modes[0] + 2
        ):
            continue
        part = everything.part(slice(start, start + rows_needed))
        found = measure_exponents(
            "", landscape, w0, part, fit_modes=(fit_modes[0], last), rtol=rtol, ratio=widths.ratio
        )
        rows.append((f"a window of {epochs} epoch{'s' if epochs > 1 else ''}", found))
    numbers = [row if isinstance(row, tuple) else (row.psi, row.psi_D, row.psi_tau) for _, row in rows]
    return Sensitivity(
        choices=tuple(name for name, _ in rows),
        exponents=torch.tensor(numbers, dtype=torch.float64),
        provenance=stamp(fit_modes=fit_modes),
    )


def _level(widths: Flatness) -> str:
    return "e" if widths.ratio == math.e else f"{widths.ratio:.3g}"


def exponents_over(row: Exponents, first: int, last: int) -> tuple[float, float, float]:
    """psi, psi_D and psi_tau over other modes; NaN where fewer than three can be fitted."""
    part = slice(first - 1, last)
    kept = (row.bracketed & row.moves)[part]
    if int(kept.sum()) < 3:
        return math.nan, math.nan, math.nan
    width = row.width[part][kept]
    psi = -fit_power_law(width, row.variance[part][kept]).exponent
    noise = -fit_power_law(width, row.velocity_variance[part][kept]).exponent
    return psi, noise, psi - noise


def measured_error_ratio(
    own: Exponents, motion: ModeStatistics, widths: Flatness, smaller: Flatness, *, rtol: float
) -> float:
    r"""Deming's delta for ln sigma^2 against ln F, from errors that were measured.

    .. math:: \delta = \frac{\langle \mathrm{se}^2(\ln \sigma_i^2) \rangle_i}
              {\mathrm{rtol}^2/2 + \mathrm{Var}_i[\ln(F_i'/F_i)]/2}

    The error of the variance is that of the jackknife over ten blocks of time. A flatness is the distance of two
    crossings, each known to rtol at most; F' is the flatness at another ratio, and what its logarithm scatters about a
    common factor is shared by two measurements, half of it each. Means are over the modes fitted.

    Args:
        own: Exponents of the window, which name the modes fitted.
        motion: Statistics of the window along the modes.
        widths: Flatness of the first modes.
        smaller: Flatness of the same modes at another ratio.
        rtol: Tolerance of the crossings.

    Returns:
        The ratio; NaN where fewer than three modes have both flatnesses.
    """
    count = len(widths.width)
    kept = own.used[:count] & smaller.bracketed
    if int(kept.sum()) < 3:
        return math.nan
    rest = (motion.moments.sum(dim=0) - motion.moments) / (len(motion.moments) - 1)
    without = torch.log(rest[:, 1] - rest[:, 0].square())[:, :count][:, kept]
    error = (len(without) - 1) * without.var(dim=0, correction=0)
    scatter = float(torch.log(smaller.width[kept] / widths.width[kept]).var())
    return float(error.mean()) / (rtol**2 / 2 + scatter / 2)


def _slopes(own: Exponents, measured: float) -> list[tuple[str, tuple[float, float, float]]]:
    """Orthogonal and inverse regression beside least squares of the variance on the flatness."""
    width = own.width[own.used]
    if len(width) < 3:
        return []
    sides = (own.variance[own.used], own.velocity_variance[own.used], own.correlation_time[own.used])

    def slopes(ratio: float) -> tuple[float, float, float]:
        first, second, third = (-errors_in_variables_exponent(width, y, error_ratio=ratio) for y in sides)
        return first, second, third

    known = math.isfinite(measured) and measured > 0
    return [
        *([(f"errors in both as measured (delta {measured:.3g})", slopes(measured))] if known else []),
        ("errors in both, of equal size (orthogonal)", slopes(1.0)),
        ("errors in F only (inverse regression)", slopes(1e-9)),
    ]
