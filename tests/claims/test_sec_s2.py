"""The drift along the first mode: worlds with a logarithmic drift, and without."""

import dataclasses

import pytest
import torch

from landscope.claims.sec_s2 import drift_measurements, margin_measurements
from landscope.noise.drift import drift_law, learning_phases
from landscope.noise.drift_path import DriftPath
from verdicts import verdicts

LINE = torch.linspace(0, 1, 5).double()
PATH = DriftPath(
    displacements=LINE, loss=1 - 0.1 * LINE, margin=1 + LINE, relative_margin=1 + 0.1 * LINE, train_error=0 * LINE,
    test_loss=LINE, test_error=0 * LINE, window_displacement=1.0, beta_slope=-0.5, beta_ensemble=-0.5,
)  # fmt: skip


def drift(loss):
    t = torch.arange(0.0, 200, 10).double()
    law = drift_law(t, loss(t), beta=-0.5, learning_rate=0.1)
    return drift_measurements(law, PATH, learning_phases(1 / (1 + t), t))


def test_a_logarithmic_drift_and_an_exponential_fall_are_told_apart():
    assert verdicts(drift(lambda t: 1 / (5 + 0.02 * t)))["logarithmic_drift"] == "reproduced"
    assert verdicts(drift(lambda t: torch.exp(-0.002 * t)))["logarithmic_drift"] == "contested"
    assert verdicts(drift(lambda t: 1 + torch.sin(t) / 2))["logarithmic_drift"] == "not reproduced"


@pytest.mark.parametrize("start", [1.0, -1.0])
@pytest.mark.parametrize(("slope", "expected"), [(0.5, "reproduced"), (-0.5, "not reproduced")])
def test_a_margin_that_grows_is_told_from_one_that_falls_also_below_zero(start, slope, expected):
    path = dataclasses.replace(PATH, margin=start + slope * LINE, relative_margin=start + 2 * slope * LINE)
    found = margin_measurements(path)
    assert found["margin"].value == pytest.approx(slope)
    assert f"{200 * slope:+.2g} %" in found["margin"].note
    assert verdicts(found)["margin"] == expected
