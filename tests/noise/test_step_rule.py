"""The linear step of an optimiser: what torch's own optimisers do in a bowl, and exact stationary variances."""

import math

import pytest
import torch

from landscope.errors import InputError
from landscope.noise import StepRule

PULL = torch.tensor([1e-6, 1e-3, 0.05, 0.9]).double()


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_heavy_ball_has_the_known_ratio(momentum):
    """sigma^2/D = (1 + beta)/(2 alpha lambda); dampening only shortens the steps."""
    exact = (1 + momentum) / (2 * PULL)
    torch.testing.assert_close(StepRule(momentum=momentum).variance_over_velocity(PULL), exact, rtol=1e-6, atol=0)
    damped = StepRule(momentum=momentum, gradient_share=0.25 if momentum else 1.0)
    torch.testing.assert_close(
        damped.variance_over_velocity(PULL), exact * (4 if momentum else 1), rtol=1e-6, atol=0
    )  # fmt: skip


def test_rows_some_steps_apart_are_an_autoregression_of_their_own():
    """AR(1): sigma^2/D_m = 1/(2 (1 - a^m))."""
    exact = 1 / (-2 * torch.expm1(7 * torch.log1p(-PULL)))
    found = StepRule().variance_over_velocity(PULL, spacing=7)
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=0)


def test_decoupled_decay_pulls_as_curvature_does_in_plain_descent():
    rule = StepRule(decoupled_decay=1.0)
    torch.testing.assert_close(rule.variance_over_velocity(PULL, 0.01), 1 / (2 * (PULL + 0.01)), rtol=1e-6, atol=0)
    assert float(StepRule().variance_over_velocity(torch.zeros(1))) == math.inf
    assert float(rule.variance_over_velocity(torch.zeros(1), 0.5)) == pytest.approx(1.0)


OPTIMIZERS = {
    "plain": (torch.optim.SGD, {}, StepRule()),
    "momentum": (torch.optim.SGD, {"momentum": 0.9}, StepRule(momentum=0.9)),
    "dampening": (
        torch.optim.SGD, {"momentum": 0.8, "dampening": 0.4}, StepRule(momentum=0.8, gradient_share=0.6),
    ),
    "nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}, StepRule(momentum=0.9, nesterov=True)),
    "adamw": (
        torch.optim.AdamW, {"betas": (0.9, 1 - 1e-12), "eps": 0.0, "weight_decay": 0.1},
        StepRule(momentum=0.9, gradient_share=0.1, decoupled_decay=0.1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_matrices_are_the_steps_of_torch(name):
    """One noiseless coordinate in a bowl; Adam with second moments held at 1 and far from its first steps."""
    make, options, rule = OPTIMIZERS[name]
    weight = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer, curvature, rate = make([weight], lr=0.03, **options), 2.0, 0.03
    if name == "adamw":
        optimizer.state[weight] = {
            "step": torch.tensor(1e15), "exp_avg": torch.zeros(1).double(),
            "exp_avg_sq": torch.ones(1).double(),
        }  # fmt: skip
    step, _ = rule.matrices(torch.tensor([rate * curvature], dtype=torch.float64), rate * rule.decoupled_decay)
    state = torch.tensor([1.0, 0.0]).double()
    for number in range(30):
        optimizer.zero_grad()
        (curvature / 2 * weight.square()).sum().backward()
        optimizer.step()
        if name == "dampening" and number == 0:  # torch takes the whole gradient into the buffer once
            buffer = optimizer.state[weight]["momentum_buffer"]
            state = torch.stack([weight.detach()[0], rate * buffer[0]])
            continue
        state = step[0] @ state
        assert float(state[0]) == pytest.approx(weight.item(), rel=1e-6)


def test_stationary_variances_are_those_of_long_paths():
    """Nesterov's rule has no short formula: 4,000 paths; the mean square of n values has relative error sqrt(2/n)."""
    rule, pull, copies = StepRule(momentum=0.8, nesterov=True), torch.tensor([0.2]).double(), 4000
    generator = torch.Generator().manual_seed(0)
    step, noise = rule.matrices(pull)
    state = torch.zeros(2, copies, dtype=torch.float64)
    for _ in range(300):
        before = state[0]
        state = step[0] @ state + noise[:, None] * torch.randn(copies, generator=generator, dtype=torch.float64)
    tolerance = 4 * math.sqrt(2 / copies)
    assert float(state[0].square().mean()) == pytest.approx(float(rule.covariance(pull)[0, 0, 0]), rel=tolerance)
    moved = float((state[0] - before).square().mean())
    assert moved == pytest.approx(float(rule.velocity_variance(pull)), rel=tolerance)


def test_relaxation_stability_and_misuse():
    rule = StepRule(momentum=0.9, gradient_share=0.1, decoupled_decay=0.5)
    assert float(rule.relaxation_rate(torch.tensor(0.02), 0.01)) == pytest.approx(0.03)
    heavy = StepRule(momentum=0.9)
    assert heavy.is_stable(torch.tensor([3.79]).double())  # 2 (1 + beta) = 3.8
    assert not heavy.is_stable(torch.tensor([3.81]).double())
    assert StepRule().is_stable(torch.zeros(3).double())
    with pytest.raises(InputError, match="momentum"):
        StepRule(momentum=1.0)
