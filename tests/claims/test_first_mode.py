"""The loss and the training error along the first mode: exponential, and other worlds."""

import dataclasses
import math

import pytest
import torch

from landscope.claims.first_mode import loss_form_measurements, training_error_measurements
from landscope.noise.drift_path import DriftPath
from verdicts import verdicts

LINE = torch.linspace(0, 1, 11).double()
PATH = DriftPath(
    displacements=LINE, loss=torch.exp(-LINE), margin=LINE, relative_margin=LINE, train_error=0 * LINE,
    test_loss=LINE, test_error=LINE, window_displacement=1.0, beta_slope=-1.0, beta_ensemble=-1.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (torch.exp(-3 * LINE), "reproduced"),
        (2 - LINE, "contested"),  # ln L is nearly straight too, but L is straight
        (1 + 8 * (LINE - 0.5).square(), "not reproduced"),
        (torch.zeros(11).double(), "not measured"),
    ],
)
def test_only_an_exponential_loss_that_no_other_form_describes_reproduces(loss, expected):
    assert verdicts(loss_form_measurements(dataclasses.replace(PATH, loss=loss)))["exponential_loss"] == expected


@pytest.mark.parametrize(
    ("last", "random", "expected"),
    [
        (0.0, [0.05, 0.06, 0.055], "reproduced"),
        (0.0, [0.0, 0.0, 0.0], "contested"),  # no direction makes errors
        (0.0, [0.0, 0.5, 0.1], "contested"),  # one more direction may make none
        (0.0, [], "undecided"),
        (0.02, [0.05, 0.06, 0.055], "not reproduced"),
    ],
)
def test_the_drift_may_bring_errors_and_so_may_any_direction(last, random, expected):
    path = dataclasses.replace(PATH, train_error=last * LINE, random_train_error=torch.tensor(random).double())
    found = training_error_measurements(path)
    assert verdicts(found)["drift_keeps_error"] == expected
    assert not math.isnan(found["drift_keeps_error"].value)
