"""Noise put in by hand: its covariance, its trace and its shapes have known answers."""

import copy

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError
from landscope.surrogates.noisy_descent import NOISES, NoisyGradientDescent, gradient_noise_like

SAMPLES, BATCH, DRAWS = 12, 4, 2000


@pytest.fixture
def problem():
    """The same one in every test."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2)).double()
    data = torch.randn(SAMPLES, 2).double(), torch.randint(0, 2, (SAMPLES,))
    return model, ls.EmpiricalRisk(model, nn.functional.cross_entropy, data)


def covariance_of_gradients(risk):
    """C/B by the definition: the gradient of every sample by itself."""
    gradients = torch.stack([risk.mean_gradient(risk.w0, torch.tensor([k])) for k in range(SAMPLES)])
    centred = gradients - gradients.mean(dim=0)
    return centred.T @ centred / SAMPLES / BATCH


@pytest.fixture(scope="module")
def drawn():
    """Draws of each kind, which the tests share."""

    kept = {}

    def draws(kind, risk):
        if kind not in kept:
            noise = gradient_noise_like(kind, risk, BATCH, seed=1, n_directions=2)
            kept[kind] = torch.stack([noise(risk.w0) for _ in range(DRAWS)])
        return kept[kind]

    return draws


def spread(exact):
    """Five standard errors of a sampled covariance, were the draws normal, and as much again for their tails."""
    diagonal = exact.diagonal()
    return 10 * ((exact.square() + diagonal[:, None] * diagonal) / DRAWS).sqrt()


@pytest.mark.parametrize("kind", NOISES)
def test_all_shapes_have_one_trace_and_no_mean(problem, drawn, kind):
    _, risk = problem
    draws = drawn(kind, risk)
    exact = covariance_of_gradients(risk)
    size = draws.square().sum(dim=1)
    assert float((size.mean() - exact.trace()).abs()) < 5 * float(size.std()) / DRAWS**0.5
    assert bool((draws.mean(dim=0).abs() < 5 * draws.std(dim=0) / DRAWS**0.5 + 1e-12).all())


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("covariance", lambda exact: exact),
        ("diagonal", lambda exact: exact.diagonal().diag()),
        ("isotropic", lambda exact: torch.eye(len(exact)).double() * exact.trace() / len(exact)),
    ],
)
def test_the_covariance_is_that_of_minibatches_or_a_part_of_it(problem, drawn, kind, shape):
    _, risk = problem
    exact = shape(covariance_of_gradients(risk))
    found = drawn(kind, risk)
    assert bool(((found.T @ found / DRAWS - exact).abs() < spread(exact)).all())


@pytest.mark.parametrize("kind", ["hessian", "flatness"])
def test_shapes_along_directions(problem, drawn, kind):
    """Variances along the directions go as lambda_j, or as F_j^-2, and there is no noise beside them."""
    _, risk = problem
    trace = covariance_of_gradients(risk).trace()
    if kind == "hessian":
        basis = ls.directions.hessian(risk, risk.w0, 2, rtol=1e-8, seed=1)
        strength = basis.values.clamp(min=0)
    else:
        basis = ls.directions.gradient_noise(risk.minibatches(1), risk.w0, 2)
        strength = ls.flatness(risk, risk.w0, basis.directions, rtol=1e-2).width.pow(-2).nan_to_num(0.0)
    found = drawn(kind, risk)
    along = found @ basis.directions.T
    assert float((found - along @ basis.directions).norm() / found.norm()) < 0.02
    exact = trace * strength / strength.sum()
    sampled = along.square().mean(dim=0)
    assert bool(((sampled - exact).abs() < 5 * along.square().std(dim=0) / DRAWS**0.5 + 0.02 * exact).all())


def test_a_step_is_gradient_and_noise(problem):
    model, risk = problem
    twin = copy.deepcopy(model)
    steps = iter(torch.randn(3, risk.space.dim).double())
    noise = torch.stack(list(copy.deepcopy(steps)))
    optimizer = NoisyGradientDescent(twin.parameters(), lr=0.5, noise=lambda w: next(steps))
    w = risk.w0.clone()
    for row in noise:
        for tensor, part in zip(twin.parameters(), risk.space.unflatten(risk.gradient(w)).values(), strict=True):
            tensor.grad = part.clone()
        optimizer.step()
        w = w - 0.5 * (risk.gradient(w) + row)
        torch.testing.assert_close(risk.space.flatten(twin), w)


def test_a_closure_is_called_and_its_loss_returned():
    w = nn.Parameter(torch.tensor([3.0]))
    optimizer = NoisyGradientDescent([w], lr=0.1, noise=torch.zeros_like)

    def closure():
        optimizer.zero_grad()
        loss = w.square().sum()
        loss.backward()
        return loss

    assert float(optimizer.step(closure).detach()) == 9.0
    assert w.item() == pytest.approx(3.0 - 0.1 * 6.0)


def test_what_does_not_fit_is_told(problem):
    model, risk = problem
    with pytest.raises(InputError, match="one group"):
        NoisyGradientDescent([{"params": [p]} for p in model.parameters()], lr=0.1, noise=torch.zeros_like)
    with pytest.raises(InputError, match="lr"):
        NoisyGradientDescent(model.parameters(), lr=0.0, noise=torch.zeros_like)
    for count in (SAMPLES - 1, SAMPLES + 1):
        with pytest.raises(InputError, match="weights for"):
            risk.weighted_gradient(risk.w0, torch.ones(count))


def test_weighted_gradients_in_any_layout(trained_digits, monkeypatch):
    from landscope.risk import data as batches

    model, data = trained_digits
    space, weights = ls.ParameterSpace.of(model, "2.weight"), torch.randn(len(data[1]))
    plain = ls.EmpiricalRisk(model, nn.functional.cross_entropy, data, space=space)
    monkeypatch.setattr(batches, "_FEWEST_ROWS", 1)
    sorted_by_label = ls.EmpiricalRisk(model, nn.functional.cross_entropy, data, space=space)
    w = plain.w0.double().requires_grad_()
    losses = nn.functional.cross_entropy(
        torch.func.functional_call(copy.deepcopy(model).double(), space.unflatten(w), data[0].double()), data[1],
        reduction="none",
    )  # fmt: skip
    (exact,) = torch.autograd.grad((weights.double() * losses).sum(), w)
    for risk in (plain, sorted_by_label):
        found = risk.weighted_gradient(risk.w0, weights)
        torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-5 * float(exact.abs().max()))
