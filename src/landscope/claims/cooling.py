"""Fig. 5B to D and the text on Fig. 6: how the active temperature goes with flatness, and how it falls.

The rule by which a change of pace counts (:func:`landscope.noise.temperature_decay.power_law_break`) was set after
looking at simulated trainings, and not before: its verdicts are no test of a rule that was fixed in advance. Its rate
of false positives was simulated afterwards. Of 400 single power laws of 8, 12, 20 and 41 checkpoints with independent
errors of 20 % at most 2 % have a break that counts. Errors that last from one checkpoint to the next look like breaks:
with a correlation of 0.5 it is 5, 11, 22 and 32 %, with 0.9 it is 8, 24, 66 and 87 %. So a break that counts says that
one power law with independent errors is not enough, and no more. The claim takes the loss for two phases only where its
break counts, and is judged beside a break at any checkpoint.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from landscope.claims.proportional import proportional_exponent
from landscope.claims.tolerance import SAME_EXPONENT, exponent_range
from landscope.claims.verdict import Claim, Control, Measurement
from landscope.noise.gradient import GradientNoise
from landscope.noise.temperature_decay import cooling_rates, power_law_break
from landscope.noise.temperature_over_training import TemperatureOverTraining
from landscope.power_law import fit_power_law
from landscope.rank_correlation import rank_correlation

__all__ = ["CLAIMS", "cooling_measurements", "temperature_exponent_measurements"]

_FEWEST = 4
"""Checkpoints, or modes, of a rank correlation."""
_EXACT = 7
"""Checkpoints up to which all orders are counted."""

CLAIMS = (
    Claim(
        "temperature_exponent",
        "Fig. 5B, inset",
        "At one loss the active temperature falls with flatness as D does (exponent of T on 1/F at w0).",
        "inverse; 2 where D = 2 alpha T",
        exponent_range(2.0),
        SAME_EXPONENT,
        "T of all minibatches at w0; noise of equal strength in all directions, and noise proportional to curvature",
    ),
    Claim(
        "temperature_profile_falls",
        "Fig. 5C",
        "The profile of the temperature falls with time (rank correlation of T with the step, median along the mode).",
        "decreases with time",
        (-1.0, -0.5),
        "a clear monotone relation",
        "the same profiles in every other order",
        possible=(-1.0, 1.0),
    ),
    Claim(
        "cooling_changes_with_loss",
        "Fig. 5D",
        "Temperatures and loss go from the fast to the slow phase together (time of the break in ln T over that in"
        " ln L, median over modes, in octaves).",
        "in sync",
        (0.0, 1.0),
        "a factor of two",
        "a break at any checkpoint",
        possible=(0.0, math.inf),
    ),
    Claim(
        "flat_directions_freeze",
        "text on Fig. 6",
        "Flat directions freeze faster (rank correlation of flatness with the rate r of T ~ t^-r).",
        "quickly frozen",
        (0.5, 1.0),
        "a clear monotone relation",
        "rates after the first epoch, along the modes of the end of training",
        possible=(-1.0, 1.0),
    ),
)


def temperature_exponent_measurements(
    noise: GradientNoise, width: Float[Tensor, " k"], mode_range: tuple[int, int], curvature: Float[Tensor, " k"]
) -> dict[str, Measurement]:
    """Measure the exponent of the active temperature on the inverse of flatness, at w0.

    Args:
        noise: Gradient noise at w0 along the first modes.
        width: Flatness of these modes; NaN if the loss does not reach the threshold.
        mode_range: First and last mode of the fit.
        curvature: Curvature along these modes at w0; NaN where it is not known.
    """
    used = slice(mode_range[0] - 1, min(mode_range[1], len(width), len(noise.variance)))
    variance, widths = noise.variance[used], width[used]
    kept = torch.isfinite(widths) & (variance > 0)
    enough = int(kept.sum()) >= _FEWEST
    value = -fit_power_law(widths[kept], variance[kept]).exponent if enough else math.nan
    isotropic = Control("isotropic noise", (0.0, 0.0), "differ", "has 0 exactly")
    return {
        "temperature_exponent": Measurement(
            value,
            controls=(isotropic, proportional_exponent(curvature[used], widths)),
            note=f"{int(kept.sum())} modes",
        )
    }


def cooling_measurements(over_training: TemperatureOverTraining, width: Float[Tensor, " k"]) -> dict[str, Measurement]:
    """Measure how the temperature falls over training: its profile, its change of pace, and the rate by flatness.

    Args:
        over_training: Temperature over training.
        width: Flatness of all measured modes, from the first on.
    """
    return {
        "temperature_profile_falls": _profile_falls(over_training),
        "cooling_changes_with_loss": _break_with_loss(over_training),
        "flat_directions_freeze": _freezing(over_training, width),
    }


def _profile_falls(over_training: TemperatureOverTraining) -> Measurement:
    profiles, steps = over_training.profiles, over_training.drawn_steps
    if len(steps) < _FEWEST:
        return Measurement(math.nan, note=f"needs profiles at {_FEWEST} checkpoints")
    falls = [fall for along in profiles.T if not math.isnan(fall := rank_correlation(steps, along))]
    value = float(np.median(falls)) if falls else math.nan
    reach = _chance(len(steps))
    chance = Control("the profiles in any other order", (-reach, 1.0), "differ", f"reach {-reach:.2f} (95 %)")
    return Measurement(value, controls=(chance,), note=f"{len(steps)} checkpoints, mode {over_training.drawn_rank}")


def _chance(count: int) -> float:
    """Rank correlation that a random order exceeds in 2.5 % of cases at most; over seven points, that of many."""
    if count > _EXACT:
        return float(stats.norm.ppf(0.975)) / math.sqrt(count - 1)
    own = np.arange(count)
    orders = np.array(list(itertools.permutations(own)))
    found = 1 - 6 * np.square(orders - own).sum(axis=1) / (count * (count**2 - 1))
    values = np.unique(found.round(12))
    beyond = next((value for value in values if np.mean(found > value + 1e-9) <= 0.025), values[-1])
    return float(beyond)


def _break_with_loss(over_training: TemperatureOverTraining) -> Measurement:
    started = over_training.steps > 0
    steps = over_training.steps[started]
    own, counts = power_law_break(steps, over_training.loss[started])
    if not counts:
        return Measurement(math.nan, note="the loss falls in one phase, or at too few checkpoints to see two")
    found = [power_law_break(steps, along) for along in over_training.temperature[started].T]
    apart = [abs(math.log2(time / own)) for time, _ in found if not math.isnan(time)]
    if not apart:
        return Measurement(math.nan, note="no temperature is positive at every checkpoint")
    middles = (steps[1:] * steps[:-1]).sqrt()[2:-2]
    anywhere = float(torch.log2(middles / own).abs().quantile(0.05, interpolation="lower"))
    chance = Control(
        "a break at any checkpoint", (anywhere, math.inf), "differ", f"is as near as {anywhere:.2g} in 5 %"
    )
    broken = sum(seen for _, seen in found)
    note = (
        f"the loss changes pace at step {own:,.0f}; {broken} of {len(found)} temperatures have a break that counts, as "
        "one power law may with errors that last over several checkpoints"
    )
    return Measurement(float(np.median(apart)), controls=(chance,), note=note)


def _freezing(over_training: TemperatureOverTraining, width: Tensor) -> Measurement:
    first = over_training.first_counted
    later = slice(first, None) if float(over_training.steps[first]) > 0 else slice(first + 1, None)
    steps, temperature = over_training.steps[later], over_training.temperature[later]
    near = over_training.ranks <= len(width)
    widths = width[over_training.ranks[near] - 1]
    by_time = cooling_rates(steps, temperature)[near]
    by_loss = cooling_rates(steps, temperature, over_training.loss[later])[near]
    kept = torch.isfinite(widths) & torch.isfinite(by_time)
    count = int(kept.sum())
    if count < _FEWEST or len(steps) < _FEWEST:
        return Measurement(math.nan, note=f"needs {_FEWEST} modes with a flatness, and checkpoints after an epoch")
    chance = _chance(count)
    unrelated = Control("rates unrelated to flatness", (-chance, chance), "differ", f"stay below {chance:.2f} (95 %)")
    order = widths[kept].argsort()
    quarter = max(1, count // 4)
    sharp, flat = (float(by_time[kept][part].median()) for part in (order[:quarter], order[-quarter:]))
    note = (
        f"r is {sharp:.2f} in the sharpest quarter and {flat:.2f} in the flattest; "
        f"T goes as L^{float(by_loss[kept].median()):.2f}, {len(steps)} checkpoints"
    )
    value = rank_correlation(widths[kept], by_time[kept])
    return Measurement(value, controls=(unrelated,), note=note)
