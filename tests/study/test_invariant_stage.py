"""What the controls keep of flatness without units is what the library measures."""

import pytest
import torch

import landscope as ls
import small_study as small
from landscope.landscape import InvariantFlatness, LearningCoefficient, learning_coefficient
from landscope.study import saved
from landscope.study.stages import invariant


@pytest.fixture(scope="module")
def analysis(analysed):
    return small.opened(analysed.path, evaluate=small.evaluate)._analysis


def test_the_flatness_in_the_metric_is_that_of_each_mode(analysis):
    found, widths = analysis.load(saved.INVARIANT_FLATNESS), analysis.load(saved.FLATNESS)
    assert isinstance(found, InvariantFlatness)
    risk, modes = analysis.risk, analysis.load(saved.MODES)
    row = int(found.ranks[0]) - 1
    direction = modes.directions[row].to(risk.w0)
    information = direction @ risk.fisher_information().product(risk.w0, direction).to(direction)
    torch.testing.assert_close(found.width[0], widths.width[row] * information.double().sqrt(), rtol=1e-5, atol=0)
    assert found.metric == "Gauss-Newton"


def test_the_coefficient_is_below_half_the_number_of_weights(analysis):
    found = analysis.load(saved.LEARNING_COEFFICIENT)
    assert isinstance(found, LearningCoefficient)
    assert (found.n_samples, len(found.by_chain)) == (120, 4)
    assert not bool(found.diverged.any())
    assert found.coefficient < analysis.window.dim / 2


def test_minibatches_estimate_the_gradient_and_give_it_exactly_at_w0(monkeypatch):
    monkeypatch.setattr(invariant, "_MINIBATCH", 30)
    model = small.network().double().eval()
    inputs, labels = small.samples()
    risk = ls.EmpiricalRisk(model, small.CRITERION, (inputs.double(), labels))
    estimate, generator = invariant._estimate(risk, 120), torch.Generator().manual_seed(0)
    torch.testing.assert_close(estimate(risk.w0, generator), risk.gradient(risk.w0))
    w = risk.w0 + 0.1
    few = torch.stack([estimate(w, generator) for _ in range(200)])
    # The mean of independent estimates, component by component: 5 standard errors.
    assert bool(((few.mean(0) - risk.gradient(w)).abs() <= 5 * few.std(0) / 200**0.5 + 1e-12).all())
    assert invariant._estimate(risk, 60) is None


class SteeperAway:
    """0.005 w^2 + w^4: the chain lives where the curvature is twenty times that of the minimum."""

    def __call__(self, w):
        return (0.005 * w**2 + w**4).sum(dim=-1)

    def gradient(self, w):
        return 0.01 * w + 4 * w**3


def test_chains_that_diverge_take_shorter_steps_and_more_of_them():
    taken = []

    def chains(step, n_steps):
        taken.append((step, n_steps))
        return learning_coefficient(
            SteeperAway(), torch.zeros(1).double(), n_samples=1000, inverse_temperature=1.0, localisation=1.0,
            step=step, n_steps=n_steps, n_chains=4, n_draws=200, seed=0,
        )  # fmt: skip

    found = invariant.steady_coefficient(chains, step=0.5 / 11, n_steps=400)
    assert taken[-1] == (0.5 / 11 / 16, 6400)
    assert not found.diverged.any()
    w = torch.linspace(-1, 1, 20_001, dtype=torch.float64)
    loss = SteeperAway()(w[:, None])
    weight = torch.exp(-1000 * loss - w**2 / 2)
    expected = 1000 * float((loss * weight).sum() / weight.sum())
    # Draws are 32 steps, ten relaxation times, apart; n beta L of one weight has a variance below 1/2; 400 draws count.
    assert found.coefficient == pytest.approx(expected, abs=4 * (0.5 / 400) ** 0.5)
