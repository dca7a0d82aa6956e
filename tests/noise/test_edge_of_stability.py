"""The share of oscillation of processes with known answers, and the bounds of SGD."""

import math

import pytest
import torch

import landscope as ls
from landscope.directions.directions import Directions
from landscope.errors import InputError
from landscope.noise.edge_of_stability import edge_of_stability, largest_curvature
from landscope.noise.oscillation import oscillation, oscillation_share
from landscope.synthetic import RandomSprings, sgd_in_bowl

ALPHA, ROWS = 0.1, 4000
PULL = torch.tensor([0.1, 0.5, 1.0, 1.5, 1.9]).double()


def naive_share(pull, momentum, n_terms=200_000):
    """The spectrum of the process, summed over a fine grid of frequencies."""
    f = (torch.arange(n_terms, dtype=torch.float64) + 0.5) / (2 * n_terms)
    turn = torch.exp(-2j * math.pi * f)
    spectrum = 1 / (1 - (1 + momentum - pull) * turn + momentum * turn**2).abs() ** 2
    return float(spectrum[f > 0.25].sum() / spectrum.sum())


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_the_share_of_a_bowl_is_that_of_its_spectrum(momentum):
    # 0.0857864 makes the roots equal at momentum 0.5: (1 + beta - x)^2 = 4 beta.
    pull = torch.tensor([0.05, 1.5 - 2 * math.sqrt(0.5), 0.5, 1.0, 1.9]).double()
    expected = torch.tensor([naive_share(float(x), momentum) for x in pull])
    # The sum errs by the half cell at the edge of the band, 1e-6 of the range, times a density of a few.
    torch.testing.assert_close(oscillation_share(pull, momentum).float(), expected, rtol=0, atol=1e-5)
    plain = 2 / math.pi * torch.atan(pull / (2 - pull))
    if momentum == 0:
        torch.testing.assert_close(oscillation_share(pull), plain, rtol=1e-12, atol=0)
    beyond = torch.tensor([-0.1, 0.0, 2 * (1 + momentum), 9.0], dtype=torch.float64)
    assert bool(oscillation_share(beyond, momentum).isnan().all())


def test_sgd_in_a_bowl_has_the_known_variance_correlation_and_share():
    rows = sgd_in_bowl(PULL / ALPHA, ROWS, learning_rate=ALPHA, noise_variance=2.0, seed=0)
    found = oscillation(ls.Trajectory.of(rows), Directions.of(torch.eye(5).double()))
    # AR(1): the relative variance of sigma^2 is 2 (1 + a^2)/((1 - a^2) T), of the lag-one correlation (1 - a^2)/T.
    a = 1 - PULL
    expected = ALPHA**2 * 2.0 / PULL / (2 - PULL)
    assert bool(((found.variance / expected - 1).abs() < 4 * (2 * (1 + a**2) / ((1 - a**2) * ROWS)).sqrt()).all())
    assert bool(((found.lag_one - a).abs() < 4 * ((1 - a**2) / ROWS).sqrt() + 4 / ROWS).all())
    assert bool(((found.share - oscillation_share(PULL)).abs() < 4 * found.standard_error).all())
    assert bool((found.share.diff() > 0).all())


def test_the_standard_error_is_the_spread_over_windows():
    rows = sgd_in_bowl(torch.full((200,), 5.0), 400, learning_rate=ALPHA, noise_variance=1.0, seed=1)
    found = oscillation(ls.Trajectory.of(rows), Directions.of(torch.eye(200).double()))
    # The spread of 200 values is known to 1/sqrt(400) = 5 %; four times that.
    assert abs(float(found.standard_error.mean() / found.share.std()) - 1) < 0.2


def test_the_naive_sum_over_frequencies():
    theta = torch.randn(31, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    centred = (theta - theta.mean())[:, 0]
    power = {}
    for n in range(-15, 16):
        wave = torch.exp(-2j * math.pi * n / 31 * torch.arange(31).double())
        power[n] = float((centred * wave).sum().abs() ** 2)
    expected = sum(p for n, p in power.items() if abs(n) / 31 > 0.25) / sum(power.values())
    found = oscillation(ls.Trajectory.of(theta), Directions.of(torch.eye(1).double()))
    assert math.isclose(float(found.share), expected, rel_tol=1e-10)


def test_a_drift_leaks_little_and_a_direction_at_rest_has_no_share():
    rows = torch.stack([torch.arange(500.0), torch.zeros(500)], dim=1)
    found = oscillation(ls.Trajectory.of(rows), Directions.of(torch.eye(2)))
    assert 0 < float(found.share[0]) < 2 / 500
    assert bool(found.share[1].isnan())
    with pytest.raises(InputError, match="a row for every step"):
        oscillation(ls.Trajectory.of(rows).part(slice(None, None, 2)), Directions.of(torch.eye(2)))


def test_bounds_and_what_a_rate_that_is_not_known_leaves_open():
    springs = RandomSprings.draw(torch.tensor([1.0, 2.0, 3.0]).double(), 50, seed=0)
    rows = sgd_in_bowl(torch.tensor([10.0, 1.0]), 400, learning_rate=ALPHA, noise_variance=1.0, seed=0)
    window, axes = ls.Trajectory.of(rows), Directions.of(torch.eye(2), values=torch.tensor([10.0, 1.0]))

    def measured(window=window, **options):
        w0 = torch.zeros(3).double()
        return edge_of_stability(springs, springs, w0, window, axes, ls.principal_modes(window), **options)

    found = measured(learning_rate=ALPHA, momentum=0.5, weight_decay=1.0)
    assert (found.bound, found.noise_bound) == (2 * 1.5 / ALPHA - 1, 2 * 0.5 / ALPHA - 1)
    torch.testing.assert_close(found.pull, torch.tensor([1.1, 0.2]).double())
    hessian = torch.func.hessian(springs)(torch.zeros(3).double())
    assert math.isclose(found.sharpness, float(torch.linalg.eigvalsh(hessian)[-1]), rel_tol=0.02)
    unknown = measured(learning_rate=math.nan)
    assert math.isnan(unknown.bound)
    assert bool((unknown.pull.isnan() & unknown.predicted_share.isnan() & ~unknown.share.isnan()).all())
    thinned = measured(window.part(slice(None, None, 2)), learning_rate=ALPHA)
    assert bool(thinned.share.isnan().all())
    assert thinned.batch_sharpness == found.batch_sharpness
    assert largest_curvature(springs, torch.zeros(3).double()) == found.sharpness
