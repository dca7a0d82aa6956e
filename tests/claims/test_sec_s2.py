"""The drift along the first mode: worlds with a logarithmic drift, and without."""

import torch

from landscope.claims.sec_s2 import drift_measurements
from landscope.claims.statements import judged
from landscope.noise.drift import drift_law, learning_phases
from landscope.noise.drift_path import DriftPath


def verdict(key, measurements):
    (judgement,) = judged({key: measurements[key]})
    return judgement.verdict


def drift(loss):
    t = torch.arange(0.0, 200, 10).double()
    line = torch.linspace(0, 1, 5).double()
    along = DriftPath(
        displacements=line, loss=1 - 0.1 * line, margin=1 + line, relative_margin=1 + 0.1 * line, train_error=0 * line,
        test_loss=line, test_error=0 * line, window_displacement=1.0, beta_slope=-0.5, beta_ensemble=-0.5,
    )  # fmt: skip
    law = drift_law(t, loss(t), beta=-0.5, learning_rate=0.1)
    return drift_measurements(law, along, learning_phases(1 / (1 + t), t))


def test_a_logarithmic_drift_and_an_exponential_fall_are_told_apart():
    assert verdict("logarithmic_drift", drift(lambda t: 1 / (5 + 0.02 * t))) == "reproduced"
    assert verdict("logarithmic_drift", drift(lambda t: torch.exp(-0.002 * t))) == "contested"
    assert verdict("logarithmic_drift", drift(lambda t: 1 + torch.sin(t) / 2)) == "not reproduced"
