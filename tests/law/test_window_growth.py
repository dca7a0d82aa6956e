"""psi in windows of growing length: known exponents of bowls, short windows and long ones."""

import math

import pytest
import torch

import landscope as ls
from known import flatness_of
from landscope.directions import Directions
from landscope.law.window_growth import growing_lengths, measure_growth, variance_in_windows
from landscope.noise import window_factor
from landscope.synthetic import autoregressive

RATE, EPOCH = 0.1, 100
CURVATURE = torch.logspace(0, -2, 50).double()
WIDTH = (8 / CURVATURE).sqrt()


def growth(seed=0, epochs=60):
    """C ~ H: the variance without end is the same in all directions."""
    noise = 1 - (1 - RATE * CURVATURE).square()
    path = autoregressive(1 - RATE * CURVATURE, epochs * EPOCH, seed=seed, noise_variance=noise)
    return measure_growth(ls.Trajectory.of(path), Directions.of(torch.eye(50)), flatness_of(WIDTH), EPOCH)


def test_psi_falls_with_the_window_as_kappa_says():
    found = growth()
    assert found.epochs.tolist() == [1, 2, 5, 10, 20, 50]
    for length, psi in zip(found.epochs.tolist(), found.psi.tolist(), strict=True):
        known = -ls.law.fit_power_law(WIDTH, window_factor(RATE * CURVATURE * length * EPOCH)).exponent
        # The error of a slope of 50 logarithms over 1.4 units of ln F, each with the error (4/5)^(1/2) at most of one.
        assert psi == pytest.approx(known, abs=4 * 0.9 / math.sqrt(int(60 / length)) / math.sqrt(50) / 0.66)


def test_the_interval_leaves_out_windows_and_holds():
    held = 0
    for seed in range(40):
        found = growth(seed, epochs=20)
        known = -ls.law.fit_power_law(WIDTH, window_factor(RATE * CURVATURE * 2 * EPOCH)).exponent
        low, high = found.psi_interval[1].tolist()
        held += low <= known <= high
    # Binomial with 0.95: fewer than 34 of 40 have a probability of 1 %.
    assert held >= 34
    assert bool(torch.isnan(found.psi_interval[-1]).all())


def test_few_directions_have_no_exponent():
    path = torch.randn(300, 2, generator=torch.Generator().manual_seed(0)).double()
    found = measure_growth(ls.Trajectory.of(path), Directions.of(torch.eye(2)), flatness_of(WIDTH[:2]), EPOCH)
    assert bool(torch.isnan(found.psi).all())


def test_variances_in_windows_are_the_slow_ones():
    theta = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).double()
    found = variance_in_windows(theta, torch.tensor([20.0, 50.0]))
    slow = (theta[:20].var(dim=0, correction=0) + theta[20:40].var(dim=0, correction=0)) / 2
    torch.testing.assert_close(found[0], slow)
    torch.testing.assert_close(found[1], theta.var(dim=0, correction=0))
    assert growing_lengths(25).tolist() == [25.0]
