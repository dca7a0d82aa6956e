"""The temperature of fluctuation and response: every verdict can come out."""

import dataclasses
import math

import pytest
import torch

from landscope.claims.response import CLAIMS, response_measurements, temperature_exponent
from landscope.noise.response import direct_response
from verdicts import verdicts

WIDTH = torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=torch.float64)


def measured(exponent, scatter=0.02, learning_rate=0.1):
    """Temperatures that go as a power of the flatness, with some scatter between repetitions."""
    zeros = torch.zeros(4, 3, 4, dtype=torch.float64)
    ones = torch.ones(4, 2, 3, 4, dtype=torch.float64) * torch.tensor([1.0, -1.0])[:, None, None]
    made = direct_response(zeros, ones, ones[:1] / 2, torch.ones(4).double(), learning_rate=learning_rate, n_lags=1)
    temperature = WIDTH**exponent if learning_rate else WIDTH * math.nan
    shift = scatter * torch.tensor([-1.0, 1.0, -1.0, 1.0], dtype=torch.float64)[:, None] * WIDTH.log()
    return dataclasses.replace(
        made, temperature=temperature, noise_temperature=temperature, temperature_without=temperature * shift.exp()
    )


@pytest.mark.parametrize(("exponent", "verdict"), [(-2.0, "reproduced"), (0.0, "undecided"), (2.0, "not reproduced")])
def test_the_sign_of_the_exponent_decides(exponent, verdict):
    assert verdicts(response_measurements(measured(exponent), WIDTH), CLAIMS) == {"response_temperature": verdict}


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
