"""lambda_eff: the curvature with all weights in a two-block quadratic, in bowls, and its standard error."""

import math

import pytest
import torch

import landscope as ls
from landscope.directions import Directions
from landscope.noise import effective_curvature, effective_curvature_at, window_factor
from landscope.synthetic import QuadraticBowl, sgd_in_bowl

RATE = 0.05
HESSIAN = torch.tensor([[2.0, 1.2], [1.2, 1.0]]).double()
FIRST = Directions.of(torch.tensor([[1.0, 0.0]]))


def two_blocks(n_steps, seed, noise=(1.0, 0.3)):
    """SGD in a quadratic of two weights with an off-diagonal Hessian; the first weight is the recorded block."""
    scale = RATE * torch.tensor(noise).double().sqrt()
    kicks = scale * torch.randn(n_steps + 2000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    turn, w, rows = torch.eye(2).double() - RATE * HESSIAN, torch.zeros(2).double(), []
    for kick in kicks:
        w = turn @ w + kick
        rows.append(w)
    return torch.stack(rows[2000:])


def stationary(noise=(1.0, 0.3)):
    """Sigma of the discrete Lyapunov equation Sigma = A Sigma A' + alpha^2 C, solved as a linear system."""
    turn = torch.eye(2).double() - RATE * HESSIAN
    system = torch.eye(4).double() - torch.kron(turn, turn)
    return torch.linalg.solve(system, RATE**2 * torch.diag(torch.tensor(noise).double()).flatten()).view(2, 2)


def quadratic(w):
    return 0.5 * torch.einsum("...i,ij,...j->...", w, HESSIAN, w)


def test_with_the_other_block_frozen_the_balance_is_wrong_and_with_all_weights_it_is_right():
    path = two_blocks(100_000, seed=0)
    found = effective_curvature(ls.Trajectory.of(path), quadratic, FIRST, local_curvature=HESSIAN[:1, 0], n_points=5000)
    covariance = stationary()
    known = float((HESSIAN @ covariance)[0, 0] / covariance[0, 0])
    assert abs(float(found.curvature[0]) - known) < 4 * float(found.stderr[0])
    assert float(found.stderr[0]) < 0.05 * known
    # sigma^2 = D/(2 alpha lambda) of the whole, but for terms of order alpha lambda; the window has 2,000 relaxations.
    strength = path[:, 0].diff().square().mean()
    whole, frozen = (float(strength / (2 * RATE * pull)) for pull in (found.curvature[0], found.local_curvature[0]))
    assert whole / float(path[:, 0].var()) == pytest.approx(1.0, abs=RATE * 2 + 0.02)
    assert frozen / float(path[:, 0].var()) < 0.7


@pytest.mark.parametrize("relaxations", [0.3, 1.0, 3.0, 10.0, 100.0])
def test_in_a_bowl_it_is_the_curvature_whatever_the_window(relaxations):
    curvature = torch.full((40,), relaxations / (RATE * 2000)).double()
    path = sgd_in_bowl(curvature, 2000, learning_rate=RATE, noise_variance=1.0, seed=1)
    axes = Directions.of(torch.eye(40))
    found = effective_curvature(ls.Trajectory.of(path), QuadraticBowl(curvature), axes)
    torch.testing.assert_close(found.curvature, curvature, rtol=1e-8, atol=0)
    # The variance of 40 windows has at most the relative error (4/5)^(1/2)/40^(1/2) = 0.14.
    predicted = path.diff(dim=0).square().mean(dim=0) / (2 * RATE * curvature) * window_factor(RATE * curvature * 2000)
    assert float((path.var(dim=0, correction=0) / predicted).mean()) == pytest.approx(1.0, abs=3 * 0.14)


def test_the_interval_holds_the_truth():
    """Over independent windows of 40 relaxations; the truth is the mean of the windows' own slopes at every step."""
    hits, truth, found = 0, [], []
    for seed in range(60):
        path = two_blocks(1500, seed)
        theta, force = path[:, :1], (path @ HESSIAN)[:, :1]
        truth.append(effective_curvature_at(theta, force))
        found.append(effective_curvature_at(theta[::15], force[::15]))
    known = sum(float(whole.moments[:, 4].sum()) for whole in truth) / sum(
        float(whole.moments[:, 3].sum()) for whole in truth
    )
    hits = sum(abs(float(one.curvature[0]) - known) < 2.26 * float(one.stderr[0]) for one in found)
    # Binomial with 0.95: 50 or fewer of 60 have a probability of 0.1 %; a slope of 1 is far outside.
    assert hits > 50


def test_few_points_have_a_large_error_and_correlated_ones_none():
    path = two_blocks(20_000, seed=2)
    theta, force = path[:, :1], (path @ HESSIAN)[:, :1]
    few, many = (effective_curvature_at(theta[::n], force[::n]) for n in (1000, 20))
    assert float(few.stderr[0]) > 3 * float(many.stderr[0])
    assert few.n_blocks == 10
    ramp = torch.linspace(-1, 1, 100)[:, None].double()
    slow = effective_curvature_at(ramp, ramp**2)
    assert math.isnan(float(slow.stderr[0]))
    assert float(slow.n_effective[0]) < 10


def test_the_jackknife_is_the_slow_one():
    path = two_blocks(5000, seed=3)
    theta, force = path[::50, :1], (path @ HESSIAN)[::50, :1]
    found = effective_curvature_at(theta, force)

    def slope(kept):
        x, y = theta[kept, 0] - theta[kept, 0].mean(), force[kept, 0] - force[kept, 0].mean()
        return (x * y).sum() / (x * x).sum()

    blocks = torch.arange(100).view(10, 10)
    without = torch.stack([slope(torch.cat([blocks[:j], blocks[j + 1 :]]).flatten()) for j in range(10)])
    torch.testing.assert_close(found.without_each[:, 0], without)
    torch.testing.assert_close(found.curvature[0], slope(torch.arange(100)))
    torch.testing.assert_close(found.stderr[0], (0.9 * (without - without.mean()).square().sum()).sqrt())


def test_what_does_not_move_has_no_curvature():
    theta = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)).double() * torch.tensor([1.0, 0.0])
    found = effective_curvature_at(theta, 3 * theta)
    assert float(found.curvature[0]) == pytest.approx(3.0)
    assert math.isnan(float(found.curvature[1]))
    assert found.part(slice(1)).curvature.shape == (1,)
