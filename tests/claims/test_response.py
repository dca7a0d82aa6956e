"""The temperature of fluctuation and response: every verdict can come out."""

import dataclasses
import math

import pytest
import torch

from landscope.claims.response import CLAIMS, response_measurements, temperature_exponent
from landscope.law import fit_power_law
from landscope.noise.response import direct_response
from landscope.synthetic import autoregressive
from verdicts import verdicts

WIDTH = torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=torch.float64)


def measured(exponent, scatter=0.02, learning_rate=0.1, curvature=-2.0):
    """Temperatures and a curvature that go as powers of the flatness, with some scatter between repetitions."""
    zeros = torch.zeros(4, 3, 4, dtype=torch.float64)
    ones = torch.ones(4, 2, 3, 4, dtype=torch.float64) * torch.tensor([1.0, -1.0])[:, None, None]
    made = direct_response(zeros, ones, ones[:1] / 2, torch.ones(4).double(), learning_rate=learning_rate, n_lags=1)
    temperature = WIDTH**exponent if learning_rate else WIDTH * math.nan
    shift = scatter * torch.tensor([-1.0, 1.0, -1.0, 1.0], dtype=torch.float64)[:, None] * WIDTH.log()
    pull = 1e-3 * WIDTH**curvature
    return dataclasses.replace(
        made, temperature=temperature, noise_temperature=temperature, temperature_without=temperature * shift.exp(),
        response=torch.stack([0 * pull + 1, 1 - pull], dim=1),
        response_stderr=torch.stack([0 * pull, 0.01 * pull], dim=1),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("exponent", "curvature", "verdict"),
    [
        (-4.0, -2.0, "reproduced"),
        (-2.0, -2.0, "contested"),  # noise proportional to curvature has it too
        (-2.0, -1.0, "reproduced"),
        (0.0, -2.0, "undecided"),
        (2.0, -2.0, "not reproduced"),
    ],
)
def test_the_sign_of_the_exponent_decides_beside_noise_proportional_to_curvature(exponent, curvature, verdict):
    found = response_measurements(measured(exponent, curvature=curvature), WIDTH)
    assert verdicts(found, CLAIMS) == {"response_temperature": verdict}


def bowl_response(noise, seed=0):
    """Twin runs in a bowl with gradient noise C_i, each direction an exact AR(1); lambda = 8/F^2."""
    rate, curvature, repetitions, rows = 0.1, 8 / WIDTH.square(), 8, 3000
    factor = 1 - rate * curvature
    paths = autoregressive(factor, repetitions * rows, seed=seed, noise_variance=rate**2 * noise(curvature))
    paths = paths.view(repetitions, rows, 4)
    kicks = torch.stack([sign * factor ** torch.arange(rows)[:, None] for sign in (1, -1)])
    return direct_response(
        paths,
        paths[:, None] + kicks,
        paths[:2, None] + kicks / 2,
        torch.ones(4).double(),
        learning_rate=rate,
        n_lags=40,
    )


def test_noise_proportional_to_curvature_has_the_temperature_that_is_derived():
    """T = alpha C/(2 - alpha lambda): with C = H it goes as F^-2 but for 2 - alpha lambda, and is contested."""
    known = fit_power_law(WIDTH, (8 / WIDTH.square()) / (2 - 0.8 / WIDTH.square())).exponent
    found = bowl_response(lambda curvature: curvature)
    (measurement,) = response_measurements(found, WIDTH).values()
    low, high = measurement.controls[0].band
    assert (low, high) == pytest.approx((known, known), rel=1e-9)  # the kicks are exact
    assert known == pytest.approx(-2.0, abs=0.25)
    assert measurement.interval[0] <= known <= measurement.interval[1]
    assert verdicts({"response_temperature": measurement}, CLAIMS) == {"response_temperature": "contested"}


@pytest.mark.parametrize(("power", "verdict"), [(2.0, "reproduced"), (0.0, None)])
def test_other_noise_is_told_from_it(power, verdict):
    found = bowl_response(lambda curvature: curvature**power)
    (measurement,) = response_measurements(found, WIDTH).values()
    low, high = measurement.controls[0].band
    assert not low <= measurement.value <= high
    if verdict:
        assert verdicts({"response_temperature": measurement}, CLAIMS) == {"response_temperature": verdict}


def test_without_a_response_that_falls_the_null_is_missing_and_nothing_is_reproduced():
    found = measured(-4.0)
    still = dataclasses.replace(found, response=torch.ones(4, 2).double())
    judged = response_measurements(still, WIDTH)
    assert verdicts(judged, CLAIMS) == {"response_temperature": "undecided"}
    assert "falls in the first step" in str(judged["response_temperature"].controls[0])


def test_the_interval_is_the_jackknife_over_repetitions():
    value, (low, high), count = temperature_exponent(measured(-2.0), WIDTH)
    # Leaving one out gives -2 -+ 0.02: se^2 = 3/4 * 4 * 0.02^2; Student's quantile of 3 degrees of freedom is 3.182.
    assert (value, count) == (pytest.approx(-2), 4)
    assert (high - low) / 2 == pytest.approx(3.182 * 0.02 * math.sqrt(3), rel=1e-3)


def test_too_few_temperatures_are_not_measured_and_the_note_says_why():
    found = measured(-2.0, learning_rate=None)
    (measurement,) = response_measurements(found, WIDTH).values()
    assert math.isnan(measurement.value)
    assert "not those of SGD" in measurement.note
    bent = dataclasses.replace(found, is_linear=torch.tensor([True, False, True, True]))
    assert "along 1 of 4 modes is not linear" in response_measurements(bent, WIDTH)["response_temperature"].note
