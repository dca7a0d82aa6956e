"""Derivatives along lines where torch has no forward mode, against central differences."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError
from landscope.line_derivatives import first_derivative, mixed_derivative

STEP = 1e-4
"""Central differences err by STEP**2 times a third derivative of order 1, and by 1e-16/STEP**2 in second ones."""


class Packed(nn.Module):
    """A recurrent network of padded sequences."""

    def __init__(self, kind, dtype):
        super().__init__()
        self.layer = kind(3, 4, batch_first=True).to(dtype)
        self.head = nn.Linear(4, 2).to(dtype)

    def forward(self, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        out, _ = nn.utils.rnn.pad_packed_sequence(self.layer(packed)[0], batch_first=True)
        return self.head(out.sum(1))


class Square(torch.autograd.Function):
    """A function of a user, without forward mode."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g


class OnceDifferentiable(Square):
    """Its backward pass has no derivative."""

    backward = torch.autograd.function.once_differentiable(Square.backward)


class ByNumpy(Square):
    """Its backward pass leaves torch, without a word."""

    @staticmethod
    def backward(ctx, g):
        return torch.from_numpy(np.multiply(2 * ctx.saved_tensors[0].detach().numpy(), g.detach().numpy()))


POINT = torch.tensor(0.3, dtype=torch.float64)
A, B = torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.3, -0.7]], dtype=torch.float64)


@pytest.mark.parametrize("function", [Square.apply, OnceDifferentiable.apply, ByNumpy.apply])
def test_first_derivatives_without_forward_mode_are_those_of_central_differences(function):
    losses = lambda d: function(torch.sin(A + d * B)) + d * A  # noqa: E731 - one branch is plain, one is not
    value, slope = first_derivative(losses, POINT)
    torch.testing.assert_close(value, losses(POINT), rtol=0, atol=0)
    torch.testing.assert_close(slope, (losses(POINT + STEP) - losses(POINT - STEP)) / (2 * STEP), rtol=0, atol=1e-7)
    assert not value.requires_grad
    assert not slope.requires_grad


NORMS = {
    "plain": lambda x: x**3,
    "no forward mode": Square.apply,
    "layer": lambda x: nn.functional.layer_norm(x, (3,)),
    "batch": lambda x: nn.functional.batch_norm(x.T, None, None, training=True).T,
    "root mean square": lambda x: nn.functional.rms_norm(x, (3,)),
}


@pytest.mark.parametrize("layer", NORMS)
def test_mixed_derivatives_are_those_of_central_differences(layer):
    """Forward mode within forward mode is wrong for some of these."""
    x, y = torch.stack([A, B]), torch.stack([B.cos(), A + 0.5])
    losses = lambda a, b: (NORMS[layer](torch.sin(x + a * y + b * x)) * y).sum(1) ** 2 + a  # noqa: E731
    h = torch.tensor(STEP, dtype=torch.float64)
    expected = (losses(h, h) - losses(h, -h) - losses(-h, h) + losses(-h, -h)) / (4 * STEP**2)
    # STEP**2 = 1e-8 times the ratio of the fourth and the second derivative, and 1e-16 * |loss| / STEP**2
    torch.testing.assert_close(mixed_derivative(losses), expected, rtol=1e-5, atol=1e-6)


def test_losses_that_do_not_depend_on_the_step_have_slope_zero():
    trained = torch.ones(3, dtype=torch.float64, requires_grad=True)
    slope = first_derivative(lambda d: Square.apply(trained) + 0 * Square.apply(d), POINT)[1]
    assert slope.tolist() == [0.0, 0.0, 0.0]
    assert mixed_derivative(lambda a, b: Square.apply(A) * (a + b)).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("function", [OnceDifferentiable, ByNumpy])
def test_a_layer_without_second_derivatives_is_no_reason_for_zeros(function):
    with pytest.raises(InputError, match="second derivatives"):
        mixed_derivative(lambda a, b: function.apply(torch.sin(A + a * B + b * A)))


def test_errors_of_the_loss_itself_stay():
    with pytest.raises(RuntimeError, match="size of tensor"):
        first_derivative(lambda d: d * torch.ones(2) + torch.ones(3), POINT)


@pytest.mark.parametrize("kind", [nn.LSTM])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_packed_sequences_have_temperatures_and_log_hessians(kind, dtype):
    model = Packed(kind, dtype)
    x, lengths, y = torch.randn(12, 5, 3, dtype=dtype), torch.arange(12) % 5 + 1, torch.arange(12) % 2
    batches = [((x[k : k + 4], lengths[k : k + 4]), y[k : k + 4]) for k in (0, 4, 8)]
    risk = ls.EmpiricalRisk.from_closure(
        model, lambda m, b: nn.functional.cross_entropy(m(*b[0]), b[1], reduction="none"), batches
    )
    ensemble = risk.minibatches(4)
    directions = torch.linalg.qr(torch.randn(risk.space.dim, 2, dtype=dtype)).Q.T.contiguous()
    gradients = torch.stack([directions @ g for g in ensemble.batch_gradients(risk.w0)]).double()
    found = ls.noise.active_temperature(ensemble, risk.w0, directions, torch.zeros(1), learning_rate=2.0)
    exact = dtype == torch.float64
    torch.testing.assert_close(
        found.temperature[:, 0], gradients.var(dim=0, correction=0), rtol=1e-9 if exact else 1e-4, atol=1e-12
    )
    hessian = ls.noise.log_hessian(ensemble, risk.w0, directions)
    h = 1e-4 if exact else 1e-2
    losses = lambda w: ensemble.batch_losses(w)  # noqa: E731
    first, second = h * directions
    mixed = losses(risk.w0 + first + second) - losses(risk.w0 + first - second)
    mixed = (mixed - losses(risk.w0 - first + second) + losses(risk.w0 - first - second)) / (4 * h**2)
    loss = losses(risk.w0)
    expected = mixed / loss - gradients[:, 0] * gradients[:, 1] / loss**2
    # float32: rounding of 1e-7 over h**2 = 1e-4
    torch.testing.assert_close(hessian.curvatures[:, 0, 1], expected, rtol=0, atol=1e-6 if exact else 5e-3)
    assert math.isfinite(hessian.off_diagonal)
