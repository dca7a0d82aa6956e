"""Coordinates in which Adam takes plain gradient steps."""

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError
from landscope.landscape.preconditioned import Preconditioned, adam_preconditioner
from landscope.synthetic import InverseGaussian


def stepped(steps=5, lr=1e-3, **options):
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, **options)
    data = torch.randn(20, 4).double(), torch.randint(0, 2, (20,))

    def step():
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(data[0]), data[1]).backward()
        optimizer.step()

    for _ in range(steps):
        step()
    return model, optimizer, data, step


@pytest.mark.parametrize("amsgrad", [False, True])
def test_a_step_of_adam_is_a_plain_step_of_u(amsgrad):
    """Without momentum (beta_1 = 0), in its own coordinates Adam moves by -alpha dL/du."""
    model, optimizer, data, step = stepped(betas=(0.0, 0.9), amsgrad=amsgrad)
    space = ls.ParameterSpace.of(model)
    before = space.flatten(model)
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, data)
    gradient = risk.gradient(before)
    step()
    after = space.flatten(model)
    scale = adam_preconditioner(model, optimizer, space).scale  # the step was taken with the moment it had updated
    torch.testing.assert_close(scale * (after - before), -1e-3 * gradient / scale, rtol=1e-9, atol=1e-18)


def test_the_landscape_in_other_coordinates():
    well = InverseGaussian(torch.tensor([8.0, 2.0, 0.5]).double())
    scale = torch.tensor([3.0, 1.0, 0.2]).double()
    seen = Preconditioned(well, scale)
    u = torch.randn(5, 3).double()
    torch.testing.assert_close(seen(u), well(u / scale))
    # F = sqrt(8/M) in w, so s times that along the axes of u.
    found = ls.flatness(seen, torch.zeros(3).double(), torch.eye(3).double(), rtol=1e-8)
    torch.testing.assert_close(found.width, scale * torch.tensor([1.0, 2.0, 4.0]).double(), rtol=1e-7, atol=0)


def test_lines_of_a_risk_in_other_coordinates(trained_digits):
    model, data = trained_digits
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, data, space=ls.ParameterSpace.of(model, "2.weight"))
    scale = torch.rand(risk.space.dim).double() + 0.5
    u0, directions = risk.w0 * scale.float(), torch.randn(3, risk.space.dim)
    walked = ls.loss_profiles(Preconditioned(risk, scale), u0, directions, torch.tensor([-0.1, 0.2]))
    plain = ls.loss_profiles(lambda u: risk(u / scale.float()), u0, directions, torch.tensor([-0.1, 0.2]))
    torch.testing.assert_close(walked.loss, plain.loss, rtol=1e-5, atol=0)


def test_missing_second_moments_are_refused():
    model = nn.Linear(2, 1)
    with pytest.raises(InputError, match="SGD"):
        adam_preconditioner(model, torch.optim.SGD(model.parameters(), lr=0.1), ls.ParameterSpace.of(model))
    with pytest.raises(InputError, match="NAdam"):
        adam_preconditioner(model, torch.optim.NAdam(model.parameters(), lr=0.1), ls.ParameterSpace.of(model))
    with pytest.raises(InputError, match="above 0"):
        Preconditioned(lambda w: w.sum(-1), torch.tensor([1.0, 0.0]))


def test_the_hessian_in_other_coordinates(trained_digits):
    model, data = trained_digits
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, data, space=ls.ParameterSpace.of(model, "2.weight"))
    scale, vector = torch.rand(risk.space.dim) + 0.5, torch.randn(risk.space.dim)
    found = Preconditioned(risk, scale).hessian_vector_product(risk.w0 * scale, vector)
    torch.testing.assert_close(found, risk.hessian_vector_product(risk.w0, vector / scale) / scale)


def test_gradient_noise_in_other_coordinates_is_scaled_by_the_root_of_the_preconditioner(trained_digits):
    """P = S^-2, so C_u = P^(1/2) C P^(1/2); the curvature of each minibatch likewise."""
    model, data = trained_digits
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, data, space=ls.ParameterSpace.of(model, "4.weight"))
    count = risk.space.dim
    scale, eye = torch.rand(count) + 0.5, torch.eye(count)[:20]
    plain, seen = risk.minibatches(50, seed=0), Preconditioned(risk, scale).minibatches(50, seed=0)
    u0, root = risk.w0 * scale, (1 / scale).double()
    assert seen.n_batches == plain.n_batches
    first, second = ls.noise.gradient_noise(plain, risk.w0, eye), ls.noise.gradient_noise(seen, u0, eye)
    torch.testing.assert_close(
        second.covariance,
        root[:20, None] * first.covariance * root[:20],
        rtol=1e-4,
        atol=1e-6 * float(first.variance.max()),
    )
    along = ls.noise.active_temperature(seen, u0, eye[:2], torch.zeros(1), learning_rate=2.0)
    torch.testing.assert_close(along.temperature[:, 0], second.variance[:2], rtol=1e-4, atol=0)
    vector = torch.randn(count)
    torch.testing.assert_close(
        seen.batch_hessian_vector_product(u0, 3, vector),
        plain.batch_hessian_vector_product(risk.w0, 3, vector / scale) / scale,
    )
    torch.testing.assert_close(seen.batch_losses(u0), plain.batch_losses(risk.w0), rtol=1e-5, atol=0)
    curved = ls.landscape.batch_sharpness(seen, u0, n_batches=3)
    gradients = torch.stack(list(seen.batch_gradients(u0)))[:3].double()
    torch.testing.assert_close(curved.gradient_square, gradients.square().sum(dim=1))
    torch.testing.assert_close(Preconditioned(risk, scale).gradient(u0), risk.gradient(risk.w0) / scale)


def test_what_has_no_minibatches_has_none_in_other_coordinates():
    with pytest.raises(InputError, match="a landscape of samples"):
        Preconditioned(lambda w: w.sum(-1), torch.ones(2)).minibatches(3)
