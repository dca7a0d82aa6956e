"""Bags of embeddings have the values of torch, and second derivatives; other forms say that they have none."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import landscope as ls
from landscope.errors import InputError
from landscope.risk.embedding_bags import with_second_derivatives

IDS = torch.tensor([[0, 1, 1, 4], [2, 2, 2, 2], [3, 2, 0, 4]])


class Bagged(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(5, 2, **options), nn.Linear(2, 3)

    def forward(self, ids):
        return self.head(torch.tanh(self.bag(ids)))


@pytest.mark.parametrize("options", [{"mode": "mean"}, {"mode": "sum"}, {"mode": "mean", "padding_idx": 2}])
def test_values_and_second_derivatives(options):
    torch.manual_seed(0)
    model, labels = Bagged(**options).double(), torch.arange(3)
    risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (IDS, labels))
    assert type(model.bag) is nn.EmbeddingBag
    assert float(risk(risk.w0)) == pytest.approx(float(F.cross_entropy(model(IDS), labels).detach()), rel=1e-12)
    vector, step = torch.randn_like(risk.w0), 1e-5
    product = risk.hessian_vector_product(risk.w0, vector)
    ends = [risk.gradient(risk.w0 + sign * step * vector) for sign in (1, -1)]
    # The error of the difference is of order step^2, and rounding over step: 1e-10.
    torch.testing.assert_close(product, (ends[0] - ends[1]) / (2 * step), rtol=0, atol=1e-7)
    logits_jacobian = torch.autograd.functional.jacobian(
        lambda w: torch.func.functional_call(risk._model, risk.space.unflatten(w), (IDS,)), risk.w0
    )
    p = model(IDS).softmax(dim=1).detach()
    curvature = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    expected = torch.einsum("kan,kab,kb->n", logits_jacobian, curvature, logits_jacobian @ vector) / 3
    torch.testing.assert_close(risk.gauss_newton_product(risk.w0, vector), expected, rtol=1e-8, atol=1e-12)


def test_weights_of_samples_and_empty_bags_are_those_of_torch():
    torch.manual_seed(0)
    bag = nn.EmbeddingBag(5, 2, mode="sum", padding_idx=2)
    weights = torch.rand(IDS.shape)
    expected = bag(IDS, per_sample_weights=weights).detach()
    with_second_derivatives(bag)
    torch.testing.assert_close(bag(IDS, per_sample_weights=weights).detach(), expected)


def test_other_bags_say_that_they_have_no_second_derivative():
    model = Bagged(mode="max")
    risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (IDS, torch.arange(3)))
    for product in (risk.hessian_vector_product, risk.gauss_newton_product):
        with pytest.raises(InputError, match="second derivatives"):
            product(risk.w0, torch.ones_like(risk.w0))
