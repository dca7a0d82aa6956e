"""The claim that twin trainings decide: does the temperature of fluctuation and response depend on the direction?"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.claims.verdict import Claim, Control, Measurement, joined
from landscope.law.intervals import jackknife_interval, with_interval
from landscope.noise.response import DirectResponse
from landscope.power_law import fit_power_law, fit_power_laws_resampled

__all__ = ["CLAIMS", "proportional_noise", "response_measurements", "temperature_exponent"]

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
        "twin trainings on the same minibatches, one of them kicked along a mode; noise proportional to the curvature"
        " that the response shows beside it",
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


def proportional_noise(found: DirectResponse, width: Float[Tensor, " k"]) -> Control:
    r"""The exponent of the temperature on F if the noise were proportional to the curvature.

    One step after a kick the response is :math:`\chi_i(1) = 1 - \alpha\lambda_i`, with any momentum. A bowl with the
    gradient noise C_i has

    .. math:: \sigma_i^2 = \frac{\alpha C_i}{\lambda_i (2 - \alpha\lambda_i)}, \qquad
              T_{\mathrm{eff},i} = \frac{D_i}{2\alpha} = \lambda_i \sigma_i^2 = \frac{\alpha C_i}{2 - \alpha\lambda_i}
              = \frac{\alpha C_i}{1 + \chi_i(1)}.

    So :math:`C = c H` has one variance in all directions, and a temperature that goes as the curvature: as
    :math:`F^{-2}` in a bowl, where :math:`F \sim \lambda^{-1/2}`. It falls with flatness though the weights fluctuate
    alike in all directions. Isotropic noise has one temperature (the Einstein relation) at small steps.

    Args:
        found: Response and fluctuation along a few modes.
        width: Their flatness.
    """
    response, error = found.response[:, 1], found.response_stderr[:, 1]
    used = torch.isfinite(width) & (found.temperature > 0) & (response < 1)
    name = "noise proportional to curvature"
    if int(used.sum()) < _MIN_MODES:
        missing = "was not measured: too few modes have a response that falls in the first step"
        return Control(name, (math.nan, math.nan), "differ", missing)
    pull, log_width = 1 - response[used], width[used].double().log()
    value = fit_power_law(width[used], pull / (1 + response[used])).exponent
    weight = (log_width - log_width.mean()) / (log_width - log_width.mean()).square().sum()
    # d ln[(1 - chi)/(1 + chi)] = -2 d chi/(1 - chi^2)
    reach = 1.96 * float((weight * 2 * error[used] / (1 - response[used].square())).square().sum().sqrt())
    return Control(name, (value - reach, value + reach), "differ")


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
            value, interval, (proportional_noise(found, width),),
            joined(f"along {n_used} modes", against_noise, nonlinear, rate),
            freedom=len(found.temperature_without) - 1,
        )
    }  # fmt: skip
