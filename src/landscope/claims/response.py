"""The claim that twin trainings decide: does the temperature of fluctuation and response depend on the direction?"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.claims.verdict import Claim, Measurement, joined
from landscope.law.intervals import jackknife_interval, with_interval
from landscope.noise.response import DirectResponse
from landscope.power_law import fit_power_law, fit_power_laws_resampled

__all__ = ["CLAIMS", "response_measurements", "temperature_exponent"]

_MIN_MODES = 3

CLAIMS = (
    Claim(
        "response_temperature",
        "Fig. 5B; text on the Einstein relation",
        "The effective temperature falls with flatness (exponent on F of the temperature from fluctuation and response"
        " to a kick; the Einstein relation has 0).",
        "inverse",
        (-100.0, 0.0),
        "the sign",
        "twin trainings on the same minibatches, one of them kicked along a mode",
    ),
)


def temperature_exponent(found: DirectResponse, width: Float[Tensor, " k"]) -> tuple[float, tuple[float, float], int]:
    """The exponent of T_eff on F, its interval by the jackknife over repetitions, and the number of modes.

    The exponent is NaN with fewer than three modes that have a flatness and a temperature.
    """
    used = torch.isfinite(width) & (found.temperature > 0)
    if int(used.sum()) < _MIN_MODES:
        return math.nan, (math.nan, math.nan), int(used.sum())
    value = fit_power_law(width[used], found.temperature[used]).exponent
    floor = torch.finfo(torch.float64).tiny
    without = fit_power_laws_resampled(width[used], found.temperature_without[:, used].clamp(min=floor))
    return value, jackknife_interval(without, value), int(used.sum())


def response_measurements(found: DirectResponse, width: Float[Tensor, " k"]) -> dict[str, Measurement]:
    """Measure how the effective temperature goes with flatness, from fluctuation and response.

    Args:
        found: Response and fluctuation along a few modes.
        width: Their flatness; NaN where the loss does not reach the ratio.
    """
    value, interval, n_used = temperature_exponent(found, width)
    ratio = found.temperature / found.noise_temperature
    known = ratio[torch.isfinite(ratio)]
    against_noise = ""
    if len(known):
        spread = with_interval(float(known.median()), (float(known.min()), float(known.max())))
        against_noise = f"over the temperature of the noise, D/2α, it is {spread} (median and range)"
    bent = int((~found.is_linear).sum())
    nonlinear = f"the response along {bent} of {len(found.kick)} modes is not linear" if bent else ""
    rate = "" if found.learning_rate > 0 else "the steps are not those of SGD with one learning rate"
    return {
        "response_temperature": Measurement(
            value, interval, note=joined(f"along {n_used} modes", against_noise, nonlinear, rate)
        )
    }
