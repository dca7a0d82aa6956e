"""Every verdict on the active temperature can come out both ways."""

import math

import pytest
import torch

from landscope.claims.fig5 import temperature_measurements
from landscope.noise.gradient import GradientNoise
from landscope.noise.temperature import ActiveTemperature
from landscope.noise.temperature_over_training import TemperatureOverTraining
from verdicts import verdicts

SCATTERED = torch.full((20,), -2.0).double().index_fill(0, torch.tensor([10]), -2.5)


def temperatures(*, profile=1.0, slope=-2.0, correlation=0.97, narrowing=0.5, checkpoints=6, curvature=None):
    width = torch.logspace(0, 1, 20, dtype=torch.float64)
    line = torch.linspace(-1, 1, 11, dtype=torch.float64)[None]
    along = ActiveTemperature(
        displacements=line, temperature=torch.exp(profile * line.square()), loss=torch.exp(line.square()),
        learning_rate=0.1, n_left_out=0,
    )  # fmt: skip
    variance = width**slope
    noise = GradientNoise(
        mean=0 * width, covariance=torch.diag(variance), variance=variance, mean_square=variance,
        minibatches_needed=width, n_batches=9, n_left_out=0,
    )  # fmt: skip
    cooling = TemperatureOverTraining(
        steps=torch.arange(float(checkpoints)), loss=torch.ones(checkpoints), ranks=torch.tensor([2]),
        temperature=torch.ones(checkpoints, 1), displacements=line[0], profiles=line, drawn_steps=torch.zeros(1),
        noise_dimension=torch.linspace(100, 100 * narrowing, checkpoints), drawn_rank=2, first_counted=0,
        noise_scale=torch.ones(checkpoints), noise_scale_interval=torch.ones(checkpoints, 2), batch_size=50,
        correlation=correlation, correlation_from_start=0.0,
    )  # fmt: skip
    return temperature_measurements(along, noise, width, cooling, (2, 20), (curvature or (lambda F: F))(width))


@pytest.mark.parametrize(
    ("key", "world", "expected"),
    [
        ("temperature_profile", {}, "reproduced"),
        ("temperature_profile", {"profile": -1.0}, "not reproduced"),
        ("temperature_by_flatness", {}, "reproduced"),
        ("temperature_by_flatness", {"slope": 2.0}, "not reproduced"),
        ("temperature_by_flatness", {"curvature": lambda width: width**-2}, "contested"),
        # One temperature is out of order, so that the null falls more than the run.
        ("temperature_by_flatness", {"slope": SCATTERED, "curvature": lambda width: width**-2}, "contested"),
        ("temperature_by_flatness", {"curvature": lambda width: math.nan * width}, "undecided"),
        ("cooling", {}, "reproduced"),
        ("cooling", {"correlation": 0.2}, "not reproduced"),
        ("cooling", {"checkpoints": 3}, "not measured"),
        ("frozen", {}, "reproduced"),
        ("frozen", {"narrowing": 1.1}, "not reproduced"),
    ],
)
def test_the_temperatures_decide(key, world, expected):
    assert verdicts(temperatures(**world))[key] == expected
