"""psi_infinity of a run: known exponents in bowls, and no number where nothing pulls the weights back."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.signal import lfilter

import landscope as ls
from known import flatness_of
from landscope.directions import Directions
from landscope.errors import InputError
from landscope.law.run_limit import _alike, _error_of_sum
from landscope.noise import effective_curvature
from landscope.synthetic import QuadraticBowl, autoregressive, random_walk, sgd_over_epochs

RATE, ROWS = 0.1, 4000
CURVATURE = torch.logspace(0, -2, 60).double()
WIDTH = (8 / CURVATURE).sqrt()
AXES = Directions.of(torch.eye(60))


def limit_of(path, curvature=CURVATURE, force=None, n_points=100, **options):
    window = ls.Trajectory.of(path)
    pull = effective_curvature(window, QuadraticBowl(curvature if force is None else force), AXES, n_points=n_points,
                               local_curvature=curvature)  # fmt: skip
    return ls.law.run_limit(AXES, window, flatness_of(WIDTH), pull, learning_rate=RATE, **options)


def bowls(true_psi, seed=0, rows=ROWS, pull=CURVATURE):
    """A stationary run with sigma^2(infinity) = F^-psi exactly; with psi 0 the noise goes with the curvature."""
    noise = WIDTH**-true_psi * (1 - (1 - RATE * pull).square())
    return autoregressive(1 - RATE * pull, rows, seed=seed, noise_variance=noise)


@pytest.mark.parametrize("true_psi", [-2.0, 0.0, 1.0, 3.8])
def test_the_limit_of_bowls_is_their_exponent(true_psi):
    found = limit_of(bowls(true_psi))
    assert found.reason == ""
    assert found.psi_infinity == pytest.approx(true_psi, abs=0.02)
    assert found.n_used == 60
    # The flattest direction has 4 relaxations in the window, and fewer in shorter ones.
    assert float(found.psi[0]) > true_psi + 0.5
    assert bool(((found.psi - found.psi_predicted).abs() < 4 * found.psi_stderr).all())
    assert 0.8 < found.amplitude < 1.2


@pytest.mark.slow
def test_the_criterion_keeps_nineteen_of_twenty_runs_and_the_interval_holds():
    found = [limit_of(bowls(0.0, seed), n_points=20) for seed in range(60)]
    known = [one for one in found if not one.reason]
    # Binomial with 0.95: fewer than 51 of 60 have a probability of 0.4 %.
    assert len(known) >= 51
    held = sum(low <= 0.0 <= high for low, high in (one.psi_infinity_interval for one in known))
    assert held >= 0.85 * len(known)


def bowls_with_common_noise(seed, rows=1500, share=0.95, group=10):
    """Neighbours in curvature have noises of correlation share^2; psi_infinity is 0."""
    decay, draws = (1 - RATE * CURVATURE).numpy(), np.random.default_rng(seed).standard_normal((2, rows + 1, 60))
    common = draws[0][:, np.arange(60) // group * group]
    noise = share * common + math.sqrt(1 - share**2) * draws[1]
    path = [lfilter([1], [1, -a], x[1:] * math.sqrt(1 - a * a), zi=[a * x[0]])[0]
            for a, x in zip(decay, noise.T, strict=True)]  # fmt: skip
    return torch.from_numpy(np.stack(path, axis=1))


def test_directions_that_share_their_noise_err_together():
    """The criterion keeps 95 % of the runs; with independent directions it would leave out most of them."""
    found = [limit_of(bowls_with_common_noise(seed), n_points=60) for seed in range(30)]
    apart = torch.stack([((row.psi - row.psi_predicted).abs() / row.psi_stderr).max() for row in found])
    # The criterion of psi alone: 15 tests of 5 % together.
    kept = int((apart < stats.norm.ppf(1 - 0.025 / 15)).sum())
    assert kept >= stats.binom.ppf(0.001, 30, 0.95)
    errors = torch.stack([row.psi_stderr[0] for row in found])
    scatter = torch.stack([row.psi[0] for row in found]).std()
    # Ten of a group are one: the error is larger by nearly sqrt(10); a standard deviation of 30 is known to 13 %.
    assert 0.7 < float(errors.mean() / scatter) < 1.6


def test_the_error_of_a_sum_has_the_correlations_of_the_steps():
    """Twin: the double sum written out; equal steps err as one, and chance leaves independent ones as they are."""
    steps = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)).double()
    steps[:, 1] = steps[:, 0]
    alike, errors = _alike(steps, 0.0), torch.tensor([[0.3, 0.2, 0.1]]).double()
    by_hand = sum(float(errors[0, i] * errors[0, j] * alike[i, j]) for i in range(3) for j in range(3))
    assert float(_error_of_sum(errors, alike)) == pytest.approx(math.sqrt(by_hand))
    # 0.5^2 + 0.1^2, with r^2 - 1/T of independent steps below 16/T.
    assert by_hand == pytest.approx(0.26, abs=2 * 0.5 * 0.1 * 16 / 4000)
    opposed = torch.tensor([[0.3, -0.3, 0.1]]).double()
    assert float(_error_of_sum(opposed, alike)) == pytest.approx(math.sqrt(0.19))  # no smaller than independent


def test_free_diffusion_is_not_identified():
    path = random_walk(ROWS, 60, seed=0)
    # The force is that of a gradient which knows nothing of theta.
    window, stray = ls.Trajectory.of(path), torch.randn(60, 60, generator=torch.Generator().manual_seed(1)).double()
    pull = effective_curvature(window, lambda w: torch.sin(w @ stray).sum(), AXES)
    found = ls.law.run_limit(AXES, window, flatness_of(WIDTH), pull, learning_rate=RATE)
    assert "differs from zero" in found.reason
    assert math.isnan(found.psi_infinity)
    assert math.isnan(found.psi_infinity_interval[0])
    assert not found.is_identified


def test_a_curvature_that_the_variance_does_not_show_is_not_identified():
    """The force measured is ten times the one that pulled the path: growing windows tell."""
    found = limit_of(bowls(0.0), force=10 * CURVATURE)
    assert "effective curvature" in found.reason
    assert math.isnan(found.psi_infinity)


def test_a_process_that_goes_on_growing_is_not_identified():
    """A bowl whose centre walks: the pull is right, and the variance grows all the same."""
    walk = 0.3 * random_walk(ROWS, 60, seed=1) * (RATE * CURVATURE).sqrt()
    path = bowls(0.0) + walk
    window = ls.Trajectory.of(path)
    pull = ls.noise.effective_curvature_at((path - walk)[::40], ((path - walk) * CURVATURE)[::40])
    found = ls.law.run_limit(AXES, window, flatness_of(WIDTH), pull, learning_rate=RATE)
    assert found.reason
    assert math.isnan(found.psi_infinity)


def test_reshuffled_epochs_have_the_exponent_of_their_order():
    """Noise with C ~ H without replacement: below 3/(alpha M) the variance goes as lambda, psi = 2, not 0."""
    count, epochs = 40, 150
    gradients = torch.randn(count, 60, generator=torch.Generator().manual_seed(0)).double() * CURVATURE.sqrt()
    gradients -= gradients.mean(dim=0)
    path = sgd_over_epochs(gradients, epochs + 50, learning_rate=RATE, seed=0, curvature=CURVATURE)[50 * count :]
    found, white = (limit_of(path, steps_per_epoch=steps) for steps in (count, None))
    time = ls.noise.window_time(CURVATURE, torch.tensor([math.inf]), learning_rate=RATE, steps_per_epoch=count)[0]
    known = -ls.law.fit_power_law(WIDTH, found.velocity_variance * time).exponent
    assert found.reason == ""
    assert found.psi_infinity == pytest.approx(known, abs=0.02)
    assert known > 0.5
    assert white.reason
    assert found.amplitude == pytest.approx(1.0, abs=0.2)
    assert found.amplitude_white < 0.6


def test_with_momentum_and_weight_decay():
    beta, decay = 0.5, 0.02
    kicks = torch.randn(3 * ROWS, 60, generator=torch.Generator().manual_seed(0)).double()
    w = v = torch.zeros(60).double()
    rows = []
    for kick in kicks:
        v = beta * v + (CURVATURE + decay) * w + CURVATURE.sqrt() * kick
        w = w - RATE * v
        rows.append(w)
    found = limit_of(torch.stack(rows[ROWS:]), momentum=beta, weight_decay=decay)
    known = -ls.law.fit_power_law(WIDTH, CURVATURE / (CURVATURE + decay)).exponent
    assert found.reason == ""
    assert found.psi_infinity == pytest.approx(known, abs=0.05)


def test_misuse():
    window = ls.Trajectory.of(bowls(0.0, rows=100))
    pull = effective_curvature(window, QuadraticBowl(CURVATURE), AXES, n_points=50)
    with pytest.raises(InputError, match="60 directions"):
        ls.law.run_limit(AXES, window, flatness_of(WIDTH[:5]), pull, learning_rate=RATE)
    with pytest.raises(InputError, match="every step"):
        ls.law.run_limit(AXES, window.thin(2), flatness_of(WIDTH), pull, learning_rate=RATE)
