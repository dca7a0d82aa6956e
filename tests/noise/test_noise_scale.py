"""The gradient noise scale against known covariances, dense matrices, and the coverage of its intervals."""

import math

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError
from landscope.noise import gradient_noise, noise_scale, noise_scale_of_two_sizes
from landscope.noise.ratio_interval import ratio_interval

G = torch.tensor([1.0, 0.5, 0.0]).double()
SPREAD = torch.tensor([1.0, 2.0, 3.0]).double()
CURVATURE = torch.tensor([3.0, 1.0, 0.2]).double()
ZERO, AXES = torch.zeros(3).double(), torch.eye(3).double()
TRACE = float(SPREAD.square().sum())


class Noisy:
    """Minibatch losses with the curvature of a bowl and gradients G + noise at the origin."""

    def __init__(self, n_batches, size, seed, gradient=G):
        noise = torch.randn(n_batches, 3, generator=torch.Generator().manual_seed(seed)).double()
        self.gradients = gradient + SPREAD * noise / math.sqrt(size)

    def batch_losses(self, w):
        bowl = (CURVATURE * w.square()).sum(-1, keepdim=True) / 2
        return bowl + w @ self.gradients.T

    def __call__(self, w):
        return self.batch_losses(w).mean(-1)


def plainly(gradients, size, metric):
    """The twin: every estimate from its definition, also without each minibatch in turn."""

    def moments(rows):
        mean = rows.mean(0)
        trace = size * torch.einsum("ni,ij,nj->", rows - mean, metric, rows - mean) / (len(rows) - 1)
        return torch.stack([trace, mean @ metric @ mean - trace / size / len(rows)])

    n = len(gradients)
    whole = moments(gradients)
    rest = torch.stack([moments(gradients[torch.arange(n) != j]) for j in range(n)])
    spread = rest - rest.mean(0)
    return whole, (n - 1) / n * spread.T @ spread


@pytest.mark.parametrize("matrix", ["identity", "hessian"])
def test_estimates_and_intervals_are_those_of_the_definition(matrix):
    ensemble = Noisy(12, 5, seed=0)
    found = noise_scale(ensemble, ZERO, AXES, batch_size=5, matrix=matrix)
    metrics = [AXES if matrix == "identity" else torch.diag(CURVATURE), *(torch.outer(p, p) for p in AXES)]
    wanted = [plainly(ensemble.gradients, 5, metric) for metric in metrics]
    quantile = 2.200985  # of Student's distribution at 97.5 % with 11 degrees of freedom
    values = [float(t / s) if s > 0 else math.inf for (t, s), _ in wanted]
    intervals = [ratio_interval(float(t), float(s), covariance, quantile) for (t, s), covariance in wanted]
    assert [found.value, *found.along.tolist()] == pytest.approx(values, rel=1e-9)
    assert [found.trace, found.gradient_square] == pytest.approx(wanted[0][0].tolist(), rel=1e-9)
    assert found.confidence_interval == pytest.approx(intervals[0], rel=1e-5)
    torch.testing.assert_close(found.along_interval, torch.tensor(intervals[1:]).double(), rtol=1e-5, atol=1e-12)
    assert found.data_gradient_square == pytest.approx(
        float(ensemble.gradients.mean(0) @ metrics[0] @ ensemble.gradients.mean(0))
    )


def test_estimates_have_no_bias_and_intervals_their_coverage():
    n, size, runs = 16, 40, 400
    found = [noise_scale(Noisy(n, size, seed), ZERO, batch_size=size) for seed in range(runs)]
    for name, truth in (("trace", TRACE), ("gradient_square", float(G @ G))):
        values = torch.tensor([getattr(one, name) for one in found]).double()
        assert float(values.mean()) == pytest.approx(truth, abs=3.5 * float(values.std()) / math.sqrt(runs)), name
    truth = TRACE / float(G @ G)
    covered = sum(one.confidence_interval[0] <= truth <= one.confidence_interval[1] for one in found)
    # Binomial spread at 95 % is 4.4 of 400; the jackknife knows its variance from 16 minibatches only: 92.8 % of 4,000
    # other ensembles were covered.
    assert 0.92 * runs - 13 <= covered <= 0.98 * runs + 13


def test_a_gradient_that_cannot_be_told_from_zero_has_no_upper_end():
    found = noise_scale(Noisy(10, 1, seed=3, gradient=torch.zeros(3).double()), ZERO, batch_size=1)
    assert found.confidence_interval[1] == math.inf
    assert found.confidence_interval[0] > 0
    bowl = Noisy(10, 1, seed=0)
    bowl.gradients = torch.zeros(10, 3).double()
    assert math.isnan(noise_scale(bowl, ZERO, batch_size=1).value)


def test_of_a_network_it_is_that_of_the_dense_gradients_of_single_samples():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x, y = torch.randn(48, 4).double(), torch.arange(48) % 3
    risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (x, y))
    single = torch.stack(list(risk.minibatches(1).batch_gradients(risk.w0)))
    whole, _ = plainly(single, 1, torch.eye(single.shape[1]).double())
    found = noise_scale(risk.minibatches(1), risk.w0)
    assert [found.trace, found.gradient_square] == pytest.approx(whole.tolist(), rel=1e-9)
    # Sigma of minibatches without replacement, times their size, is that of single samples on average.
    sizes = [noise_scale(risk.minibatches(4, seed=seed), risk.w0).trace for seed in range(60)]
    spread = torch.tensor(sizes).std() / math.sqrt(60)
    assert sum(sizes) / 60 == pytest.approx(found.trace, abs=3.5 * float(spread))
    along = noise_scale(risk.minibatches(4), risk.w0, torch.eye(len(risk.w0)).double()[:2])
    noise = gradient_noise(risk.minibatches(4), risk.w0, torch.eye(len(risk.w0)).double()[:2])
    variance = noise.variance * 12 / 11
    square = noise.mean.square() - variance / 12
    wanted = torch.where(square > 0, 4 * variance / square, math.inf)
    torch.testing.assert_close(along.along, wanted)
    assert (along.batch_size, along.n_batches) == (4, 12)


def test_large_gradients_are_computed_twice_and_few_minibatches_are_taken(monkeypatch):
    ensemble = Noisy(20, 2, seed=1)
    kept = noise_scale(ensemble, ZERO, AXES, batch_size=2, n_batches=7)
    monkeypatch.setattr("landscope.noise.scale._KEPT_BYTES", 100)
    again = noise_scale(ensemble, ZERO, AXES, batch_size=2, n_batches=7)
    assert kept.n_batches == again.n_batches == 7
    assert kept.value == again.value
    assert torch.equal(kept.along_interval, again.along_interval)


def test_norms_of_two_batch_sizes_give_the_same_scale():
    generator = torch.Generator().manual_seed(0)
    noise = SPREAD * torch.randn(4000, 8, 3, generator=generator).double()
    small = (G + noise[:, 0]).square().sum(-1)
    large = (G + noise.mean(1)).square().sum(-1)
    found = noise_scale_of_two_sizes(small, large, small_size=1, large_size=8)
    low, high = found.confidence_interval
    assert low < TRACE / float(G @ G) < high
    assert high < 1.5 * low


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(InputError, match="batch_size"):
        noise_scale(Noisy(10, 1, seed=0), ZERO)
    with pytest.raises(InputError, match="at least 3 minibatches"):
        noise_scale(Noisy(2, 1, seed=0), ZERO, batch_size=1)
    with pytest.raises(InputError, match="large_size"):
        noise_scale_of_two_sizes(torch.ones(3), torch.ones(3), small_size=4, large_size=4)
    with pytest.raises(InputError, match="measurements"):
        noise_scale_of_two_sizes(torch.ones(2), torch.ones(2), small_size=1, large_size=4)
