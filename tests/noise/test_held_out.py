"""Held-out frequencies: the fast formula against its slow twin, and known answers."""

import math

import pytest
import torch

import landscope as ls
from landscope.errors import InputError
from landscope.noise.held_out import cosine_amplitudes, difference_factors, held_out_powers
from landscope.synthetic import autoregressive, random_walk


def amplitudes_of(path):
    window = ls.Trajectory.of(path)
    modes = ls.principal_modes(window)
    return modes, cosine_amplitudes(modes.project_trajectory(window)[:, : modes.n_moving])


def one_by_one(amplitudes, count, bandwidth):
    """The definition: a decomposition without each frequency, and weights written out."""
    rows = len(amplitudes) + 1
    centres = (amplitudes.square().sum(0) / rows)[:count]
    found = torch.empty(len(amplitudes), count, dtype=torch.float64)
    for left_out in range(len(amplitudes)):
        others = torch.cat([amplitudes[:left_out], amplitudes[left_out + 1 :]])
        values, vectors = torch.linalg.eigh(others.T @ others / rows)
        powers = (amplitudes[left_out] @ vectors).square()
        apart = values[:, None] - centres
        weights = values[:, None] / (apart.square() + (bandwidth * centres).square()).square()
        found[left_out] = (powers @ weights) / weights.sum(0)
    return found


@pytest.mark.parametrize("rows", [20, 60])
def test_no_second_decomposition_is_needed(rows):
    _, amplitudes = amplitudes_of(autoregressive(torch.linspace(0, 0.9, 30), rows, seed=0))
    slow = one_by_one(amplitudes, 10, 0.1)
    # 1 - q_f is as small as bandwidth times the share of f outside the mode, so digits are lost, but few.
    torch.testing.assert_close(held_out_powers(amplitudes, 10, 0.1), slow, rtol=1e-6, atol=1e-9 * float(slow.max()))


def test_amplitudes_hold_the_variance_and_the_steps_exactly():
    theta = autoregressive(torch.tensor([0.2, 0.9]), 50, seed=1)
    powers = cosine_amplitudes(theta).square()
    torch.testing.assert_close(powers.sum(0) / 50, theta.var(0, correction=0))
    torch.testing.assert_close(difference_factors(50) @ powers, theta.diff(dim=0).square().sum(0))


@pytest.mark.parametrize(("coefficient", "bound"), [(0.0, 1e-9), (0.5, 0.1), (0.9, 0.25), (0.9999, 0.01)])
def test_amplitudes_of_different_frequencies_are_nearly_uncorrelated(coefficient, bound):
    """The inverse covariance of an AR(1) is a (second difference) + (1-a)^2 + a (1-a) (both ends), exactly.

    The first two parts are diagonal in cosines. The ends couple frequencies by 4 a (1-a)/(T (a mu_f + (1-a)^2)) at
    most, which is largest where the relaxation time 1/(1-a) is a few times shorter than the window.
    """
    rows = 60
    ends = torch.zeros(rows, rows).double()
    ends[0, 0] = ends[-1, -1] = 1.0
    cosines = cosine_amplitudes(torch.eye(rows).double()).T
    mean = torch.full((rows, 1), rows**-0.5).double()
    basis = torch.cat([mean, cosines], dim=1)
    factors = torch.cat([torch.zeros(1).double(), difference_factors(rows)])
    inverse = torch.diag(coefficient * factors + (1 - coefficient) ** 2)
    inverse += coefficient * (1 - coefficient) * basis.T @ ends @ basis
    lag = torch.arange(rows).double()
    covariance = coefficient ** (lag[:, None] - lag).abs() / (1 - coefficient**2)
    torch.testing.assert_close(basis.T @ covariance @ basis @ inverse, torch.eye(rows).double(), rtol=0, atol=1e-7)
    along = cosines.T @ covariance @ cosines
    scale = along.diagonal().sqrt()
    correlation = along / scale / scale[:, None] - torch.eye(rows - 1).double()
    assert float(correlation.abs().max()) < bound


def test_a_walk_without_directions_has_no_modes_in_fresh_data():
    """N >> T: the modes of a random walk are its cosines, and every direction has the same variance: the mean."""
    modes, amplitudes = amplitudes_of(random_walk(60, 3000, seed=0))
    corrected = held_out_powers(amplitudes, 20).sum(0) / 60
    assert float(modes.variance[0] / modes.variance[19]) > 300
    # The first cosines hold 1/f^2 of the power: 6/pi^2 of it is one draw, with a relative error of sqrt(2/3000) only,
    # since a held-out cosine is new in all 3000 directions but its power along one mode is a single square. So xi has
    # the standard deviation sqrt(2 sum 1/f^4)/sum 1/f^2 = 0.9 of its mean at each mode, and neighbours average it.
    mean = modes.total_variance / 3000
    assert 0.3 < float(corrected.mean()) / mean < 2.0


def test_wrong_columns_are_refused():
    _, amplitudes = amplitudes_of(torch.randn(30, 5, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(InputError, match="another order"):
        held_out_powers(amplitudes.flip(1), 3)
    with pytest.raises(InputError, match="do not move"):
        held_out_powers(torch.cat([amplitudes, 0 * amplitudes[:, :1]], dim=1), 3)
    with pytest.raises(InputError, match="bandwidth between 0 and 1"):
        held_out_powers(amplitudes, 3, 0.0)
    assert math.isfinite(float(held_out_powers(amplitudes, 5).sum()))
