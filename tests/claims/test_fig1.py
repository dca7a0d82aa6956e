"""Fig. 1: how few modes hold the variance, beside surrogates whose modes were not all measured."""

import dataclasses
import math

import pytest
import torch

import landscope as ls
from landscope.claims.fig1 import few_modes_control
from landscope.claims.statements import judged
from landscope.claims.verdict import Measurement
from landscope.law.exponents import Exponents, measure_exponents
from landscope.synthetic import InverseGaussian


def surrogate(n_modes, n_needed):
    window = ls.Trajectory.of(torch.randn(60, 8, generator=torch.Generator().manual_seed(0)).double())
    modes = ls.principal_modes(window, n_modes)
    found = measure_exponents(
        "null", InverseGaussian(torch.logspace(0, 1, 8).double()), torch.zeros(8).double(), window, directions=modes
    )
    assert found.modes_for_90_percent_is_bound == (n_modes < 7)
    count = n_needed - (1 if n_modes < 7 else 0)
    columns = {name: torch.ones(count, dtype=getattr(found, name).dtype) for name in Exponents.dims}
    return dataclasses.replace(found, modes_for_90_percent=n_needed, **columns)


@pytest.mark.parametrize(
    ("own", "n_modes", "counts", "verdict", "finding"),
    [
        (30, 8, (60, 61), "reproduced", "needs 60 to 61"),
        (30, 8, (20, 21), "contested", "needs 20 to 21"),
        (30, 4, (60, 60), "reproduced", "needs at least 60"),
        (30, 4, (21, 21), "undecided", "needs at least 21"),  # they may need 22 or 200
    ],
)
def test_a_null_at_the_end_of_its_modes_needs_at_least_so_many(own, n_modes, counts, verdict, finding):
    control = few_modes_control(own, [surrogate(n_modes, count) for count in counts], 2500)
    (judgement,) = judged({"modes_for_90_percent": Measurement(own / 2500, controls=(control,))})
    assert (judgement.verdict, control.finding) == (verdict, finding)


def test_one_null_has_no_band():
    assert math.isnan(few_modes_control(30, [surrogate(8, 60)], 2500).band[0])
