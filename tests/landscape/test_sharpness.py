"""Batch sharpness against formulas, and against Hessians by automatic differentiation."""

import math

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError
from landscope.landscape.sharpness import batch_sharpness


class Quadratics:
    """Minibatch losses (w - c)' A (w - c)/2, each with a matrix and a centre of its own."""

    def __init__(self, matrices, centres):
        self.matrices, self.centres = matrices, centres

    def batch_losses(self, w):
        away = w[..., None, :] - self.centres
        return 0.5 * torch.einsum("...bi,bij,...bj->...b", away, self.matrices, away)

    def __call__(self, w):
        return self.batch_losses(w).mean(-1)


def quadratics(n_batches=6, dim=4):
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(n_batches, dim, dim, dtype=torch.float64, generator=generator)
    return Quadratics(root @ root.mT, torch.randn(n_batches, dim, dtype=torch.float64, generator=generator))


def test_quadratics_give_the_rayleigh_quotient_of_their_matrices():
    ensemble, w0 = quadratics(), torch.zeros(4).double()
    found = batch_sharpness(ensemble, w0)
    gradient = torch.einsum("bij,bj->bi", ensemble.matrices, w0 - ensemble.centres)
    curved = torch.einsum("bi,bij,bj->b", gradient, ensemble.matrices, gradient)
    quotient = curved / gradient.square().sum(1)
    # A few dozen sums of float64 of magnitudes near the result.
    torch.testing.assert_close(found.quotient, quotient, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.gradient_square, gradient.square().sum(1), rtol=1e-12, atol=0)
    assert math.isclose(found.value, float(quotient.mean()), rel_tol=1e-12)
    assert math.isclose(found.standard_error, float(quotient.std()) / math.sqrt(6), rel_tol=1e-12)
    torch.testing.assert_close(batch_sharpness(ensemble, w0, n_batches=4).quotient, quotient[:4], rtol=1e-12, atol=0)


def test_a_network_against_its_whole_hessians():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)).double()
    inputs, labels = torch.randn(30, 3).double(), torch.arange(30) % 2
    model(inputs)  # statistics of its own, which are kept
    risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (inputs, labels))
    ensemble = risk.minibatches(7, seed=1)
    found = batch_sharpness(ensemble, risk.w0)
    assert len(found.quotient) == 4
    assert found.n_left_out == 2
    model.eval()
    for number, rows in enumerate(ensemble.batches):

        def loss(w, rows=rows):
            weights = risk.space.unflatten(w)
            return nn.functional.cross_entropy(torch.func.functional_call(model, weights, inputs[rows]), labels[rows])

        gradient = torch.func.grad(loss)(risk.w0)
        expected = gradient @ torch.func.hessian(loss)(risk.w0) @ gradient / gradient.square().sum()
        torch.testing.assert_close(found.quotient[number], expected, rtol=1e-9, atol=0)


def test_a_minibatch_without_a_gradient_has_no_direction():
    ensemble = quadratics()
    ensemble.centres[0] = 0
    found = batch_sharpness(ensemble, torch.zeros(4).double())
    assert found.quotient.isnan().tolist() == [True] + [False] * 5
    assert math.isclose(found.value, float(found.quotient[1:].mean()), rel_tol=1e-15)
    ensemble.centres[:4] = 0
    assert math.isnan(batch_sharpness(ensemble, torch.zeros(4).double()).value)


def test_too_few_minibatches():
    with pytest.raises(InputError, match="at least 3 minibatches"):
        batch_sharpness(quadratics(2), torch.zeros(4).double())
