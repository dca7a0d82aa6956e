"""What the controls keep of flatness without units is what the library measures."""

import pytest
import torch

import landscope as ls
import small_study as small
from landscope.landscape import InvariantFlatness, LearningCoefficient
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
