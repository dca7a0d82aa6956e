"""psi_infinity: known limits behind finite windows."""

import math

import pytest
import torch

import landscope as ls
from known import flatness_of
from landscope.directions import Directions
from landscope.errors import InputError
from landscope.synthetic import autoregressive

RATE, ROWS = 0.1, 4000
CURVATURE = torch.logspace(0, -3, 150).double()
WIDTH = (8 / CURVATURE).sqrt()


def limit_of(true_psi, seed=0):
    """A stationary run with sigma^2(infinity) = F^-psi exactly, D = 2 alpha lambda sigma^2."""
    variance = WIDTH**-true_psi
    noise = variance * (1 - (1 - RATE * CURVATURE).square())
    path = autoregressive(1 - RATE * CURVATURE, ROWS, seed=seed, noise_variance=noise)
    axes = Directions.of(torch.eye(len(CURVATURE)), values=CURVATURE)
    return ls.law.window_limit(axes, ls.Trajectory.of(path), flatness_of(WIDTH), learning_rate=RATE)


@pytest.mark.parametrize("true_psi", [-2.0, 0.0, 1.0, 3.8])
def test_the_limit_has_the_true_exponent_and_the_window_a_larger_one(true_psi):
    found = limit_of(true_psi)
    assert found.psi_infinity == pytest.approx(true_psi, abs=0.02)
    assert found.psi > true_psi + 0.2
    assert found.psi == pytest.approx(found.psi_predicted, abs=0.2)
    assert found.n_used == len(CURVATURE)
    ratio = found.variance / found.predicted
    # The variance of a slow direction is one draw of a wide distribution; the sharp ones average.
    assert float(ratio[:50].mean()) == pytest.approx(1.0, abs=4 * float(ratio[:50].std()) / math.sqrt(50))


def test_the_interval_holds_the_true_exponent():
    held = [limit_of(0.0, seed).psi_infinity_interval for seed in range(40)]
    share = sum(low <= 0.0 <= high for low, high in held) / len(held)
    # Of 40 intervals of 95 %, 34 or fewer hold with a probability of 1 %.
    assert share > 34 / 40


def test_directions_without_curvature_have_no_limit():
    path = torch.randn(100, 4, generator=torch.Generator().manual_seed(0)).double()
    axes = Directions.of(torch.eye(4), values=torch.tensor([1.0, 0.5, 0.0, -1.0]))
    found = ls.law.window_limit(axes, ls.Trajectory.of(path), flatness_of(torch.ones(4).double()), learning_rate=0.1)
    assert found.used.tolist() == [True, True, False, False]
    assert found.limit[2:].isinf().all()
    assert math.isnan(found.psi_infinity)
    with pytest.raises(InputError, match="flatness of 4 directions"):
        ls.law.window_limit(axes, ls.Trajectory.of(path), flatness_of(torch.ones(3).double()), learning_rate=0.1)
