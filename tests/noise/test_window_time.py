"""sigma^2(T)/D: known limits, the slow double sum, and simulated epochs."""

import math

import pytest
import torch

from landscope.errors import InputError
from landscope.noise import window_factor, window_time
from landscope.surrogates.epoch_noise import epoch_noise_time
from landscope.synthetic import autoregressive, sgd_over_epochs

RATE, EPOCH = 0.1, 20
CURVATURE = torch.tensor([0.001, 0.03, 0.3, 3.0, 12.0]).double()


def test_white_noise_has_kappa_and_a_window_without_end_the_stationary_variance():
    ends = torch.tensor([50.0, 1000.0, math.inf]).double()
    found = window_time(CURVATURE, ends, learning_rate=RATE)
    pull = RATE * CURVATURE
    torch.testing.assert_close(found[2], 1 / (2 * pull))
    for row, end in enumerate(ends[:2].tolist()):
        # kappa is that of continuous time: in steps it differs by the share alpha lambda and by 1/T.
        known = window_factor(pull * end) / (2 * pull)
        assert bool(((found[row] / known - 1).abs() < pull + 2 / end).all())


def test_epoch_noise_without_end_is_the_known_time():
    found = window_time(CURVATURE, torch.tensor([math.inf]), learning_rate=RATE, steps_per_epoch=EPOCH)
    torch.testing.assert_close(found[0], epoch_noise_time(CURVATURE, learning_rate=RATE, batches_per_epoch=EPOCH))


@pytest.mark.parametrize("epoch", [None, EPOCH])
def test_it_is_the_double_sum_over_the_autocovariance(epoch):
    """The mean over steps of the variance about the mean: tr(K)/T - 1'K1/T^2, K the covariance of the window."""
    length, horizon = 60, 4000
    pull = (RATE * CURVATURE[1:4])[:, None]
    noise = torch.zeros(horizon).double()
    noise[0] = 1.0
    if epoch is not None:
        noise[:epoch] -= (epoch - torch.arange(epoch)) / epoch**2
    lag = torch.arange(-horizon + 1, horizon)
    response = (1 - pull) ** lag.abs() / (pull * (2 - pull))
    both = torch.cat([noise[1:].flip(0), noise])
    covariance = torch.stack([torch.nn.functional.conv1d(
        row[None, None], both[None, None], padding=length)[0, 0] for row in response])  # fmt: skip
    middle = covariance.shape[1] // 2
    covariance = covariance[:, middle : middle + length]
    weights = 2 * (length - torch.arange(length)).double() / length**2
    weights[0] /= 2
    variance = covariance[:, 0] - covariance @ weights
    strength = 2 * (covariance[:, 0] - covariance[:, 1])
    ends = torch.tensor([float(length)])
    found = window_time(CURVATURE[1:4], ends, learning_rate=RATE, steps_per_epoch=epoch)
    torch.testing.assert_close(found[0], variance / strength, rtol=1e-6, atol=0)


def test_epochs_without_replacement_show_it():
    """Windows of whole epochs, however short, from 60 directions of one curvature."""
    gradients = torch.randn(EPOCH, 60, generator=torch.Generator().manual_seed(0)).double()
    gradients -= gradients.mean(dim=0)
    for pull in (0.0, 0.3):
        path = sgd_over_epochs(
            gradients, 400, learning_rate=RATE, seed=0, curvature=torch.full((60,), pull).double()
        )[100 * EPOCH :]  # fmt: skip
        strength = path.diff(dim=0).square().mean()
        known = window_time(torch.tensor([pull]), torch.tensor([40.0 * EPOCH]), learning_rate=RATE,
                            steps_per_epoch=EPOCH)  # fmt: skip
        windows = torch.stack([part.var(dim=0, correction=0) for part in path.split(40 * EPOCH)][:7])
        # All directions share the order of the minibatches, but not its part; 7 windows of some 40 independent epochs.
        assert float(windows.mean() / strength) == pytest.approx(float(known), rel=3 * (2 / (7 * 40)) ** 0.5)


def test_momentum_multiplies_the_time_where_the_pull_is_slow():
    beta, curvature = 0.9, torch.tensor([0.0, 0.01]).double()
    ends = torch.tensor([4000.0, math.inf]).double()
    plain, heavy = (window_time(curvature, ends, learning_rate=RATE, momentum=b) for b in (0.0, beta))
    # The memory of 1/(1 - beta) steps is missing once at either end of the window.
    assert float(heavy[0, 0] / plain[0, 0]) == pytest.approx(19.0, rel=4 / (1 - beta) / 4000)
    assert float(heavy[1, 1] / plain[1, 1]) == pytest.approx(1 + beta, rel=1e-6)
    assert math.isinf(float(heavy[1, 0]))


def test_momentum_over_reshuffled_epochs_shows_it():
    """Momentum spreads each minibatch over half an epoch here: the share of the epoch in D is far from 1/M."""
    beta, pull, gradients = 0.9, 0.05, torch.randn(EPOCH, 60, generator=torch.Generator().manual_seed(1)).double()
    gradients -= gradients.mean(dim=0)
    generator, theta, buffer, rows = torch.Generator().manual_seed(2), torch.zeros(60), torch.zeros(60), []
    for _ in range(1500):
        for batch in torch.randperm(EPOCH, generator=generator).tolist():
            buffer = beta * buffer + pull / RATE * theta + gradients[batch]
            theta = theta - RATE * buffer
            rows.append(theta)
    path = torch.stack(rows)[100 * EPOCH :]
    known = window_time(torch.tensor([pull / RATE]), torch.tensor([float(2 * EPOCH)]), learning_rate=RATE,
                        momentum=beta, steps_per_epoch=EPOCH)  # fmt: skip
    windows = torch.stack([part.var(dim=0, correction=0) for part in path.split(2 * EPOCH)])
    # 700 windows of two epochs each, whose variance scatters by 2 at most, in 19 independent directions.
    scatter = (2 / (700 * 19)) ** 0.5
    assert float(windows.mean() / path.diff(dim=0).square().mean()) == pytest.approx(float(known), rel=3 * scatter)


def test_a_bowl_shows_it():
    path = autoregressive(1 - RATE * CURVATURE.repeat_interleave(40), 500, seed=0)
    known = window_time(CURVATURE, torch.tensor([500.0]), learning_rate=RATE)[0]
    ratio = path.var(dim=0, correction=0) / path.diff(dim=0).square().mean(dim=0)
    # One window of Brownian motion scatters by (4/5)^(1/2), longer ones less.
    assert bool(((ratio.view(5, 40).mean(dim=1) / known - 1).abs() < 4 * (0.8 / 40) ** 0.5).all())


def test_misuse():
    with pytest.raises(InputError, match="negative"):
        window_time(torch.tensor([-1.0]), torch.tensor([10.0]), learning_rate=RATE)
    with pytest.raises(InputError, match="steps"):
        window_time(torch.tensor([1.0]), torch.tensor([1.0]), learning_rate=RATE)
