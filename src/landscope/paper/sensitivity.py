"""What the exponents depend on: modes, window, threshold, errors on both sides; and what the controls decide."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.controls import Basis, modes_along
from landscope.errors import InputError
from landscope.exponents import Exponents, flatness_exponents
from landscope.landscape import Flatness
from landscope.modes import PrincipalModes
from landscope.motion import motion_along
from landscope.noise.stationarity import LyapunovResidual, YaidaRelation
from landscope.paper.claims import Control, Measurement
from landscope.paper.variance_flatness import exponents_of
from landscope.protocols import LossLandscape
from landscope.results import Result, stamp
from landscope.scaling import errors_in_variables_exponent, fit_power_law
from landscope.trajectory import Trajectory

__all__ = ["Growth", "Sensitivity", "control_measurements", "measure_growth", "measure_sensitivity"]

_NOTHING = (math.nan, math.nan)
_RANGES = ((2, 50), (2, 100), (2, 200), (20, 200), (50, 500))
_EPOCHS = (1, 3, 10, 20, 50, 100)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Sensitivity(Result, kind="paper_sensitivity", dims={"exponents": ("choice", "exponent")}):
    """The exponents under other choices: of the modes fitted, also in fresh data and under the null.

    Args:
        choices: What was chosen, one a row.
        exponents: psi, psi_D, psi_tau, ``[choices, 3]``; NaN where it does not apply.
    """

    choices: tuple[str, ...]
    exponents: Float[Tensor, "choices 3"]


def measure_sensitivity(
    landscape: LossLandscape,
    w0: Float[Tensor, " N"],
    window: Trajectory,
    everything: Trajectory,
    modes: PrincipalModes,
    widths: Flatness,
    widths_at_two: Flatness,
    fresh: Exponents,
    nulls: Sequence[Exponents],
    *,
    law_modes: tuple[int, int],
    steps_per_epoch: int,
    rtol: float,
) -> Sensitivity:
    """The exponents of a window under other ranges, thresholds, slopes and window lengths.

    Args:
        landscape: The risk at w0.
        w0: The end of the window.
        window: The window.
        everything: All that was recorded, for longer windows; those are measured around the same w0.
        modes: Principal modes of the window.
        widths: Flatness at ratio e of the first modes.
        widths_at_two: Flatness at ratio 2 of the same.
        fresh: Exponents of the next window along the same modes.
        nulls: Exponents of shuffled-increment surrogates; the first is shown.
        law_modes: Range of the law.
        steps_per_epoch: Minibatches an epoch.
        rtol: Tolerance of the crossings.

    Returns:
        The table.
    """
    motion = motion_along(modes, window)
    own = flatness_exponents("", motion, widths, law_modes)
    rows: list[tuple[str, Exponents | tuple[float, float, float]]] = [("as reported", own)]
    tables = [("in-sample", own), ("next window", fresh), *(("shuffled increments", null) for null in nulls[:1])]
    rows += [
        (f"modes {first} to {last}, {name}", _over(found, first, last))
        for first, last in _RANGES
        if last <= len(widths.width)
        for name, found in tables
    ]
    rows.append(("flatness at 2 L0 instead of e L0", flatness_exponents("", motion, widths_at_two, law_modes)))
    rows += _slopes(own)
    start = int(window.steps[0])
    for epochs in _EPOCHS:
        rows_needed = epochs * steps_per_epoch
        last = min(law_modes[1], rows_needed - 1)
        if rows_needed in (len(window), 0) or not 30 <= rows_needed <= len(everything) or last < law_modes[0] + 2:
            continue
        part = everything.window(start, start + rows_needed)
        found = exponents_of("", landscape, w0, part, law_modes=(law_modes[0], last), rtol=rtol)
        rows.append((f"a window of {epochs} epoch{'s' if epochs > 1 else ''}", found))
    numbers = [row if isinstance(row, tuple) else (row.psi, row.psi_D, row.psi_tau) for _, row in rows]
    return Sensitivity(
        choices=tuple(name for name, _ in rows),
        exponents=torch.tensor(numbers, dtype=torch.float64),
        provenance=stamp(law_modes=law_modes),
    )


def _over(row: Exponents, first: int, last: int) -> tuple[float, float, float]:
    """psi, psi_D and psi_tau over other modes; NaN where fewer than three can be fitted."""
    part = slice(first - 1, last)
    moving = (row.variance[part] > 0) & (row.velocity_variance[part] > 0)
    kept = row.bracketed[part] & moving
    if int(kept.sum()) < 3:
        return math.nan, math.nan, math.nan
    width = row.width[part][kept]
    psi = -fit_power_law(width, row.variance[part][kept]).exponent
    noise = -fit_power_law(width, row.velocity_variance[part][kept]).exponent
    return psi, noise, psi - noise


def _slopes(own: Exponents) -> list[tuple[str, tuple[float, float, float]]]:
    """Orthogonal and inverse regression beside least squares of the variance on the flatness."""
    width = own.width[own.used]
    if len(width) < 3:
        return []
    sides = (own.variance[own.used], own.velocity_variance[own.used], own.correlation_time[own.used])

    def slopes(ratio: float) -> tuple[float, float, float]:
        first, second, third = (-errors_in_variables_exponent(width, y, error_ratio=ratio) for y in sides)
        return first, second, third

    return [
        ("errors in both, of equal size (orthogonal)", slopes(1.0)),
        ("errors in F only (inverse regression)", slopes(1e-9)),
    ]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Growth(
    Result, kind="paper_growth", dims={"epochs": ("length",), "variance": ("length", "mode"), "width": ("mode",)}
):
    """Variance against the length of the window, along directions that were not chosen by it.

    Args:
        epochs: Lengths.
        variance: sigma_i^2 within windows of that length, mean over those that fit, ``[lengths, k]``.
        width: F_i of the directions, NaN where not within reach.
        flat_exponent: Slope of ln sigma^2 on ln length, median of the flattest quarter: 0 stationary, 1 diffusion.
        sharp_exponent: The same of the sharpest quarter.
    """

    epochs: Float[Tensor, " lengths"]
    variance: Float[Tensor, "lengths k"]
    width: Float[Tensor, " k"]
    flat_exponent: float
    sharp_exponent: float


def measure_growth(everything: Trajectory, basis: Basis, widths: Flatness, steps_per_epoch: int) -> Growth:
    """How the variance along a basis grows with the window, from one epoch to all that was recorded.

    Args:
        everything: All that was recorded.
        basis: Directions not chosen by variance.
        widths: Their flatness.
        steps_per_epoch: Minibatches an epoch.

    Returns:
        The growth; exponents are NaN where fewer than two lengths fit.

    Raises:
        InputError: If less than one epoch was recorded.
    """
    available = len(everything) // steps_per_epoch
    if available < 1:
        raise InputError(
            expected=f"at least one epoch, {steps_per_epoch} rows", got=f"{len(everything)}", hint="Record longer."
        )
    theta = modes_along(basis, everything).project_trajectory(everything)
    lengths = [epochs for epochs in (1, 2, 5, 10, 20, 50, 100) if epochs <= available]
    rows = []
    for epochs in lengths:
        count = epochs * steps_per_epoch
        pieces = [theta[start : start + count] for start in range(0, len(theta) - count + 1, count)]
        rows.append(torch.stack([piece.var(dim=0, correction=0) for piece in pieces]).mean(dim=0))
    variance = torch.stack(rows)
    slope = torch.full((theta.shape[1],), math.nan, dtype=torch.float64)
    if len(lengths) > 1:
        x = torch.log(torch.tensor(lengths, dtype=torch.float64))
        x = x - x.mean()
        slope = (x[:, None] * torch.log(variance)).sum(dim=0) / x.square().sum()
    order = torch.argsort(torch.where(torch.isfinite(widths.width), widths.width, math.inf))
    quarter = max(1, len(order) // 4)
    return Growth(
        epochs=torch.tensor(lengths, dtype=torch.float64),
        variance=variance,
        width=widths.width,
        flat_exponent=float(slope[order[-quarter:]].median()),
        sharp_exponent=float(slope[order[:quarter]].median()),
        provenance=stamp(steps_per_epoch=steps_per_epoch),
    )


def control_measurements(
    rows: Mapping[str, Exponents],
    growth: Growth,
    sensitivity: Sensitivity,
    yaida: YaidaRelation,
    lyapunov: LyapunovResidual,
    *,
    curvature: Float[Tensor, " k"],
    plain: bool,
) -> dict[str, Measurement]:
    """What the controls say on the contested claims.

    Args:
        rows: The controls, by key.
        growth: Variance against window length.
        sensitivity: The exponents under other choices.
        yaida: Yaida's relation of the window continued with replacement.
        lyapunov: The Lyapunov equation of the same.
        curvature: Curvature along the Hessian eigenvectors, near w0 and kinks included: against 1/sqrt of it the
            equilibrium must give -2.
        plain: Whether the run is of SGD without momentum, which the tests of stationarity are for.

    Returns:
        Measurements by claim.
    """
    hessian, fresh, equilibrium = rows["hessian"], rows["hessian-next"], rows["langevin"]
    replaced, reshuffled = rows["sampling-with-replacement"], rows["sampling-reshuffled"]
    others = [" next window" in choice or "shuffled" in choice for choice in sensitivity.choices]
    psi = sensitivity.exponents[~torch.tensor(others), 0]
    spread = psi[torch.isfinite(psi)]
    between = ""
    if len(spread):
        between = f"along principal modes psi is {float(spread.min()):.2f} to {float(spread.max()):.2f} "
        between += f"over {len(spread)} choices"
    firsts = [count for count in (20, 50, 100, 200, 500) if count < len(hessian.variance)]
    sizes = ", ".join(f"{_over(hessian, 1, count)[0]:.2f} over the first {count}" for count in firsts)
    # Without its equilibrium the sign decides nothing.
    settled = not math.isnan(equilibrium.psi)
    return {
        "psi_hessian": Measurement(
            hessian.psi,
            hessian.psi_interval,
            (Control("the next window", (fresh.psi, fresh.psi), "agree"),),
            "; ".join(text for text in (sizes and f"the basis decides too: {sizes}", between) if text),
        ),
        "inverse_einstein": Measurement(
            fresh.psi if settled else math.nan,
            fresh.psi_interval if settled else _NOTHING,
            (Control("isotropic Langevin noise along the same directions", _psi_band(equilibrium), "differ"),),
            f"{equilibrium.n_used} directions equilibrated; against the curvature near w0 instead of F the noise gives "
            f"{_local_exponent(equilibrium, curvature):.2f} (-2 in a bowl)",
        ),
        "tau_by_sampling": Measurement(
            replaced.psi_tau - reshuffled.psi_tau,
            _difference_interval(replaced, reshuffled, "psi_tau"),
            note=f"{replaced.psi_tau:.2f} with replacement, {reshuffled.psi_tau:.2f} reshuffled",
        ),
        "flat_modes_stationary": Measurement(
            growth.flat_exponent,
            note=f"the sharpest quarter has {growth.sharp_exponent:.2f}; 1 is free diffusion; lengths of "
            f"{growth.epochs[0]:.0f} to {growth.epochs[-1]:.0f} epochs",
        ),
        "stationary": Measurement(
            float(yaida.ratio[1:].nanmedian()) if plain and len(yaida.ratio) > 1 else math.nan,
            note=f"residual of the Lyapunov equation along {len(lyapunov.ratio)} modes {lyapunov.residual:.2g}"
            if plain
            else "both tests are for SGD without momentum",
        ),
    }


def _local_exponent(row: Exponents, curvature: Float[Tensor, " k"]) -> float:
    """Psi with the local width in place of F."""
    if row.n_used < 3:
        return math.nan
    kept = row.used & (curvature > 0)
    return -fit_power_law(curvature[kept].rsqrt(), row.variance[kept]).exponent


def _difference_interval(first: Exponents, second: Exponents, key: str) -> tuple[float, float]:
    """Interval of the difference of two runs that are independent: half widths add in squares."""
    reach = math.hypot(*(getattr(row, f"{key}_interval")[1] - getattr(row, key) for row in (first, second)))
    middle = getattr(first, key) - getattr(second, key)
    return middle - reach, middle + reach


def _psi_band(row: Exponents) -> tuple[float, float]:
    return (row.psi, row.psi) if math.isnan(row.psi_interval[0]) else row.psi_interval
