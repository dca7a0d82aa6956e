"""Fig. 5: the active temperature along modes and along training."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.claims.proportional import proportional_fall
from landscope.claims.verdict import Claim, Measurement
from landscope.noise.gradient import GradientNoise
from landscope.noise.temperature import ActiveTemperature
from landscope.noise.temperature_over_training import MIN_CHECKPOINTS, TemperatureOverTraining
from landscope.rank_correlation import rank_correlation

__all__ = ["CLAIMS", "temperature_measurements"]

CLAIMS = (
    Claim(
        "temperature_profile",
        "Fig. 5A",
        "The active temperature has the profile of the loss, higher away from w0 (median rank"
        " correlation along modes).",
        "similar",
        (0.8, 1.0),
        "a clear monotone relation",
        possible=(-1.0, 1.0),
    ),
    Claim(
        "temperature_by_flatness",
        "Fig. 5B",
        "The active temperature at w0 falls with flatness (rank correlation).",
        "inverse",
        (-1.0, -0.5),
        "a clear monotone relation",
        "T against F at one L, and noise proportional to curvature, whose temperature falls with flatness by itself",
        possible=(-1.0, 1.0),
    ),
    Claim(
        "cooling",
        "Fig. 5D",
        "The active temperature falls with the loss along training (correlation of logarithms).",
        "highly correlated",
        (0.8, 1.0),
        "a clear relation",
        possible=(-1.0, 1.0),
    ),
    Claim(
        "frozen",
        "text on Fig. 6",
        "The search narrows (directions that hold 99 % of the gradient noise, end of training over its first epoch).",
        "quickly frozen",
        (0.0, 0.9),
        "a tenth fewer at least",
        "the spectrum of the gradient noise at each checkpoint, in its own basis",
        possible=(0.0, math.inf),
    ),
)


def temperature_measurements(
    along: ActiveTemperature,
    noise: GradientNoise,
    width: Float[Tensor, " k"],
    cooling: TemperatureOverTraining,
    mode_range: tuple[int, int],
    curvature: Float[Tensor, " k"],
) -> dict[str, Measurement]:
    """Measure the claims of Fig. 5 in one run.

    Args:
        along: Temperature profiles along a few modes.
        noise: Gradient noise at w0 along the first modes.
        width: Flatness of these modes; NaN if the loss does not reach the threshold.
        cooling: Temperature over training.
        mode_range: First and last mode of the rank correlation.
        curvature: Curvature along these modes at w0; NaN where it is not known.
    """
    counted = len(cooling.steps) - cooling.first_counted
    enough = counted >= MIN_CHECKPOINTS
    likeness = [rank_correlation(t, loss) for t, loss in zip(along.temperature, along.loss, strict=True)]
    used = slice(mode_range[0] - 1, min(mode_range[1], len(width), len(noise.variance)))
    kept = torch.isfinite(width[used])
    falling = rank_correlation(noise.variance[used][kept], width[used][kept])
    return {
        "temperature_profile": Measurement(float(torch.tensor(likeness).median()) if likeness else math.nan),
        "temperature_by_flatness": Measurement(falling, controls=(proportional_fall(curvature[used], width[used]),)),
        "cooling": Measurement(
            cooling.correlation if enough else math.nan,
            note=f"over {counted} checkpoints from the first epoch on, along modes "
            f"of the end of training; over all from step 0 it is {cooling.correlation_from_start:.2f}",
        ),
        "frozen": Measurement(
            float(cooling.noise_dimension[-1] / cooling.noise_dimension[cooling.first_counted]) if enough else math.nan,
            note=f"{cooling.noise_dimension[cooling.first_counted]:.0f} directions after the first epoch, "
            f"{cooling.noise_dimension[-1]:.0f} at the end, of at most as many as minibatches",
        ),
    }
