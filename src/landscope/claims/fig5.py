"""Fig. 5: the active temperature along modes and along training."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from landscope.claims.verdict import Measurement
from landscope.noise.gradient import GradientNoise
from landscope.noise.temperature import ActiveTemperature
from landscope.noise.temperature_over_training import MIN_CHECKPOINTS, TemperatureOverTraining

__all__ = ["temperature_measurements"]


def temperature_measurements(
    along: ActiveTemperature,
    noise: GradientNoise,
    width: Float[Tensor, " k"],
    cooling: TemperatureOverTraining,
    mode_range: tuple[int, int],
) -> dict[str, Measurement]:
    """What the temperatures say on the claims of Fig. 5.

    Args:
        along: Profiles of a few modes.
        noise: Gradient noise at w0 along the first modes.
        width: Their flatness, NaN where not within reach.
        cooling: Along training.
        mode_range: Modes to speak of.

    Returns:
        Measurements by claim.
    """
    counted = len(cooling.steps) - cooling.first_counted
    enough = counted >= MIN_CHECKPOINTS
    likeness = [
        float(stats.spearmanr(t.numpy(), loss.numpy()).statistic)
        for t, loss in zip(along.temperature, along.loss, strict=True)
    ]
    used = slice(mode_range[0] - 1, min(mode_range[1], len(width), len(noise.variance)))
    kept = torch.isfinite(width[used])
    falling = float(stats.spearmanr(noise.variance[used][kept].numpy(), width[used][kept].numpy()).statistic)
    return {
        "temperature_profile": Measurement(float(torch.tensor(likeness).median()) if likeness else math.nan),
        "temperature_by_flatness": Measurement(falling if int(kept.sum()) > 2 else math.nan),
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
