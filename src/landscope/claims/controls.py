"""What the exponents depend on: modes, window, threshold, errors on both sides; and what the controls decide."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.claims.verdict import Control, Measurement
from landscope.law.exponents import Exponents
from landscope.law.sensitivity import Sensitivity, exponents_over
from landscope.law.window_growth import Growth
from landscope.noise.stationarity import LyapunovResidual, YaidaRelation
from landscope.power_law import fit_power_law

__all__ = [
    "equilibrium_claims", "growth_claims", "hessian_basis_claims", "sampling_claims", "stationarity_claims",
]  # fmt: skip


def hessian_basis_claims(
    hessian: Exponents, fresh: Exponents | None, sensitivity: Sensitivity
) -> dict[str, Measurement]:
    """What psi is along Hessian eigenvectors, which variance did not choose.

    Args:
        hessian: Exponents of the window along Hessian eigenvectors.
        fresh: The same of the fresh data; None where there are none.
        sensitivity: The in-sample exponents under other choices.
    """
    others = ["fresh data" in choice or "shuffled" in choice for choice in sensitivity.choices]
    psi = sensitivity.exponents[~torch.tensor(others), 0]
    spread = psi[torch.isfinite(psi)]
    between = ""
    if len(spread):
        between = f"along principal modes psi is {float(spread.min()):.2f} to {float(spread.max()):.2f} "
        between += f"over {len(spread)} choices"
    firsts = [count for count in (20, 50, 100, 200, 500) if count < len(hessian.variance)]
    sizes = ", ".join(f"{exponents_over(hessian, 1, count)[0]:.2f} over the first {count}" for count in firsts)
    value = math.nan if fresh is None else fresh.psi
    return {
        "psi_hessian": Measurement(
            hessian.psi,
            hessian.psi_interval,
            (Control("fresh data", (value, value), "agree"),),
            "; ".join(text for text in (sizes and f"the basis decides too: {sizes}", between) if text),
        )
    }


def equilibrium_claims(
    fresh: Exponents, equilibrium: Exponents, curvature: Float[Tensor, " k"]
) -> dict[str, Measurement]:
    """Whether fluctuations fall with flatness where thermal ones rise.

    Args:
        fresh: Exponents of the fresh data along Hessian eigenvectors.
        equilibrium: Exponents of isotropic Langevin noise along the same directions.
        curvature: Curvature along them near w0, kinks included: against 1/sqrt of it the equilibrium must give -2.
    """
    # Without its equilibrium the sign decides nothing.
    settled = not math.isnan(equilibrium.psi)
    return {
        "inverse_einstein": Measurement(
            fresh.psi if settled else math.nan,
            fresh.psi_interval if settled else (math.nan, math.nan),
            (Control("isotropic Langevin noise along the same directions", _psi_band(equilibrium), "differ"),),
            f"{equilibrium.n_used} directions equilibrated; against the curvature near w0 instead of F the noise gives "
            f"{_local_exponent(equilibrium, curvature):.2f} (-2 in a bowl)",
        )
    }


def sampling_claims(replaced: Exponents, reshuffled: Exponents) -> dict[str, Measurement]:
    """What the order of the minibatches does to the correlation time.

    Args:
        replaced: Exponents after training on with minibatches drawn with replacement.
        reshuffled: Exponents after training on with reshuffled epochs.
    """
    return {
        "tau_by_sampling": Measurement(
            replaced.psi_tau - reshuffled.psi_tau,
            _difference_interval(replaced, reshuffled, "psi_tau"),
            note=f"{replaced.psi_tau:.2f} with replacement, {reshuffled.psi_tau:.2f} reshuffled",
        )
    }


def growth_claims(growth: Growth) -> dict[str, Measurement]:
    """How the variance of flat directions grows with the window.

    Args:
        growth: Variance against the length of the window.
    """
    return {
        "flat_modes_stationary": Measurement(
            growth.flat_exponent,
            note=f"the sharpest quarter has {growth.sharp_exponent:.2f}; 1 is free diffusion; lengths of "
            f"{growth.epochs[0]:.0f} to {growth.epochs[-1]:.0f} epochs",
        )
    }


def stationarity_claims(yaida: YaidaRelation, lyapunov: LyapunovResidual, *, plain: bool) -> dict[str, Measurement]:
    """Whether restoring force and noise balance.

    Args:
        yaida: Yaida's relation of the training continued with replacement.
        lyapunov: The Lyapunov equation of the same.
        plain: Whether the training is SGD without momentum, which both tests are for.
    """
    return {
        "stationary": Measurement(
            float(yaida.ratio[1:].nanmedian()) if plain and len(yaida.ratio) > 1 else math.nan,
            note=f"residual of the Lyapunov equation along {len(lyapunov.ratio)} modes {lyapunov.residual:.2g}"
            if plain
            else "both tests are for SGD without momentum",
        )
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
