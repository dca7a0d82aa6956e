"""Fluctuation and response of processes whose temperature is known."""

import math

import pytest
import torch

from landscope.errors import InputError, NonFiniteError
from landscope.noise.response import direct_response
from landscope.synthetic import autoregressive

A = torch.tensor([0.5, 0.9], dtype=torch.float64)
RATE = 0.1


def twins(step, start, kick, noise):
    """Paths of a scalar map in each direction, ``noise[r, T, k]``, from a start and from kicked starts."""

    def run(shift, r):
        rows = [start + shift]
        for xi in noise[r]:
            rows.append(step(rows[-1]) + xi)
        return torch.stack(rows)

    def pairs(size):
        return torch.stack([torch.stack([run(sign * size, r) for sign in (1, -1)]) for r in range(len(noise))])

    unkicked = torch.stack([run(torch.zeros_like(kick), r) for r in range(len(noise))])
    return unkicked, pairs(kick), pairs(kick / 2)[:1], kick


def autoregressive_twins(n_repetitions, n_steps):
    """Segments of one stationary path; the twin of a linear process stays eps a^t apart."""
    path = autoregressive(A, n_repetitions * (n_steps + 1), seed=1).reshape(n_repetitions, n_steps + 1, 2)
    apart = A ** torch.arange(n_steps + 1)[:, None]
    kick = torch.tensor([1.0, 0.3], dtype=torch.float64)
    pairs = [torch.stack([path + size * kick * apart, path - size * kick * apart], dim=1) for size in (1.0, 0.5)]
    return path, pairs[0], pairs[1][:1], kick


def test_an_autoregressive_process_has_the_temperature_of_its_noise_at_every_lag():
    found = direct_response(*autoregressive_twins(10, 2000), learning_rate=RATE, n_lags=20)
    lags = torch.arange(21)
    torch.testing.assert_close(found.response, A[:, None] ** lags)
    torch.testing.assert_close(found.mobility, RATE * (1 - A[:, None] ** lags) / (1 - A[:, None]))
    assert bool(found.is_linear.all())
    # D = 2 s^2/(1 + a) and T = D/(2 alpha). Squares of displacements of lag t decorrelate within t + tau steps at the
    # latest (tau = (1 + a)/(1 - a) = 19 here), so the relative error is below sqrt(2 (2 t + tau)/n) = 0.077; 4 of them.
    expected = (1 / (1 + A) / RATE)[:, None].expand(2, 20)
    torch.testing.assert_close(found.temperature_by_lag[:, 1:], expected, rtol=4 * 0.077, atol=0)
    assert ((found.temperature - expected[:, 0]).abs() < 4 * found.temperature_stderr).all()
    torch.testing.assert_close(found.noise_temperature, found.temperature_by_lag[:, 1])
    # Autocovariance s^2 a^t/(1 - a^2), whose error is of the same size relative to C(0).
    variance = 1 / (1 - A**2)
    torch.testing.assert_close(found.correlation / variance[:, None], A[:, None] ** lags, rtol=0, atol=4 * 0.077)


def test_sums_are_those_of_the_slow_obvious_loops():
    unkicked, kicked, halved, kick = autoregressive_twins(3, 12)
    found = direct_response(unkicked, kicked, halved, kick, learning_rate=RATE)
    assert found.response.shape == (2, 4)
    for i in range(2):
        x = 0.0
        for lag in range(1, 4):
            x += RATE * sum(float(kicked[r, 0, lag - 1, i] - kicked[r, 1, lag - 1, i]) for r in range(3)) / 6 / kick[i]
            squares = [
                float(unkicked[r, s + lag, i] - unkicked[r, s, i]) ** 2 for r in range(3) for s in range(13 - lag)
            ]
            assert float(found.displacement[i, lag]) == pytest.approx(sum(squares) / len(squares))
            assert float(found.temperature_by_lag[i, lag]) == pytest.approx(float(sum(squares) / len(squares) / 2 / x))
    one = direct_response(unkicked[1:], kicked[1:], halved, kick, learning_rate=RATE)
    torch.testing.assert_close(found.temperature_without[0], one.temperature)


def test_langevin_noise_has_one_temperature_in_every_direction():
    curvature, rate, temperature = torch.tensor([0.2, 1.0, 2.0], dtype=torch.float64), 0.05, 0.3
    n = 10_000
    kicks = torch.randn(2, n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    noise = math.sqrt(2 * rate * temperature) * kicks
    start = torch.zeros(3, dtype=torch.float64)
    few = twins(lambda w: w - rate * curvature * w, start, torch.full_like(start, 0.1), noise)
    found = direct_response(*few, learning_rate=rate, n_lags=100)
    # In discrete time sigma^2 lambda = T/(1 - alpha lambda/2). Displacements of lag 100 with relaxation times up to 100
    # steps: relative error below sqrt(2 (2 x 100 + 100)/(2 n)) = 0.17; 3 of them for the slowest direction.
    torch.testing.assert_close(found.temperature, temperature / (1 - rate * curvature / 2), rtol=0.51, atol=0)
    # Equal within errors of 0.17 each; a temperature that goes as the curvature would be ten times apart.
    assert float(found.temperature.max() / found.temperature.min()) < 1.51**2


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_mobility_is_the_displacement_by_a_constant_force(momentum):
    curvature, rate = torch.tensor([0.3, 2.0], dtype=torch.float64), 0.1

    def path(start, force=0.0):
        w, velocity, rows = start.clone(), torch.zeros_like(start), [start]
        for _ in range(40):
            velocity = momentum * velocity + curvature * w - force
            w = w - rate * velocity
            rows.append(w)
        return torch.stack(rows)

    start, eps = torch.tensor([0.2, -0.1], dtype=torch.float64), torch.full((2,), 0.05, dtype=torch.float64)
    pair, half = (torch.stack([path(start + size), path(start - size)])[None] for size in (eps, eps / 2))
    unkicked = path(start)[None].expand(2, -1, -1)
    found = direct_response(
        unkicked, pair.expand(2, -1, -1, -1), half, eps, learning_rate=rate, momentum=momentum, n_lags=40
    )
    torch.testing.assert_close(found.mobility.T, path(start, force=1.0) - path(start))


def test_a_kick_beyond_the_linear_response_is_noticed_by_halving_it():
    a, b, eps = 0.5, 4.0, torch.tensor([0.1, 0.5], dtype=torch.float64)
    silent = torch.zeros(2, 4, 2, dtype=torch.float64)
    found = direct_response(
        *twins(lambda x: a * x - b * x**3, torch.zeros(2, dtype=torch.float64), eps, silent), learning_rate=RATE
    )
    # After one step chi = a - b eps^2, and a - b eps^2/4 with half the kick; at lag 0 both are 1.
    change = 0.75 * b * eps**2 / (1 + (a - b * eps**2 / 4) ** 2).sqrt()
    torch.testing.assert_close(found.nonlinearity, change)
    assert found.is_linear.tolist() == [True, False]
    assert math.isnan(float(found.temperature[1]))
    assert math.isfinite(float(found.temperature[0]))


def test_a_steady_drift_is_told_from_diffusion():
    steps = torch.arange(101, dtype=torch.float64)
    path = torch.stack([0.3 * steps, torch.where(steps % 2 == 0, 1.0, -1.0)], dim=1).expand(2, -1, -1)
    pair = torch.stack([path + 1, path - 1], dim=1)
    half = torch.stack([path + 0.5, path - 0.5], dim=1)
    found = direct_response(path, pair, half, torch.ones(2), learning_rate=RATE, n_lags=25)
    torch.testing.assert_close(found.drift_share, torch.tensor([1.0, 0.0], dtype=torch.float64))


def test_without_a_learning_rate_there_is_a_response_and_no_temperature():
    found = direct_response(*autoregressive_twins(2, 40))
    assert bool(torch.isfinite(found.response).all())
    assert bool(torch.isnan(found.temperature).all())


def test_what_does_not_fit_is_refused():
    unkicked, kicked, halved, kick = autoregressive_twins(3, 12)
    with pytest.raises(InputError, match="at least 2"):
        direct_response(unkicked[:1], kicked[:1], halved, kick)
    with pytest.raises(InputError, match="halved kicks in 1 to 3"):
        direct_response(unkicked, kicked, halved[:0], kick)
    with pytest.raises(InputError, match="above 0"):
        direct_response(unkicked, kicked, halved, 0 * kick)
    with pytest.raises(InputError, match="below 1"):
        direct_response(unkicked, kicked, halved, kick, learning_rate=RATE, momentum=1.0)
    with pytest.raises(NonFiniteError, match="diverged"):
        direct_response(unkicked, kicked / 0, halved, kick)
