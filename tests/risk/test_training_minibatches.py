"""Minibatch losses with batch statistics against the model in training mode, and against plain autograd."""

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError
from landscope.landscape import batch_sharpness
from landscope.risk.training_minibatches import TrainingMinibatches


def test_the_losses_and_products_are_those_of_the_model_in_training_mode():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 2)).double()
    inputs, labels = torch.randn(21, 3).double(), torch.arange(21) % 2
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ensemble = TrainingMinibatches(model, nn.CrossEntropyLoss(), (inputs, labels), 5, seed=1)
    losses, vector = ensemble.batch_losses(ensemble.w0), torch.randn_like(ensemble.w0)
    found = batch_sharpness(ensemble, ensemble.w0)
    gradients = list(ensemble.batch_gradients(ensemble.w0))
    product = ensemble.hessian_vector_product(ensemble.w0, vector)
    assert ensemble.n_left_out == 1
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
    model.train()
    model[3].eval()
    space = ls.ParameterSpace.of(model)

    def loss(w, rows):
        outputs = torch.func.functional_call(model, {**model.state_dict(), **space.unflatten(w)}, inputs[rows])
        return nn.functional.cross_entropy(outputs, labels[rows])

    products = []
    for number, rows in enumerate(ensemble.batches):
        w = ensemble.w0.clone().requires_grad_()
        torch.testing.assert_close(losses[number], loss(w, rows).detach(), rtol=1e-12, atol=0)
        gradient = torch.autograd.grad(loss(w, rows), w)[0]
        torch.testing.assert_close(gradients[number], gradient, rtol=1e-9, atol=1e-15)
        hessian = torch.autograd.functional.hessian(lambda w, rows=rows: loss(w, rows), ensemble.w0)
        products.append(hessian @ vector)
        quotient = gradient @ hessian @ gradient / gradient.square().sum()
        torch.testing.assert_close(found.quotient[number], quotient, rtol=1e-9, atol=0)
    torch.testing.assert_close(product, torch.stack(products).mean(0), rtol=1e-9, atol=1e-14)


def test_weighted_losses_of_several_inputs_are_those_of_the_model_in_training_mode():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))

        def forward(self, first, second):
            return {"logits": self.layers(first + second)}

    torch.manual_seed(0)
    model, inputs = Two().double(), {name: torch.randn(12, 3).double() for name in ("first", "second")}
    labels, criterion = torch.arange(12) % 3, nn.CrossEntropyLoss(torch.tensor([0.2, 1.0, 3.0]).double())
    labels[::5] = -100
    ensemble = TrainingMinibatches(model, criterion, (inputs, labels), 4)
    model.train()
    expected = [
        criterion(model(**{name: value[k : k + 4] for name, value in inputs.items()})["logits"], labels[k : k + 4])
        for k in (0, 4, 8)
    ]
    torch.testing.assert_close(ensemble.batch_losses(ensemble.w0), torch.stack(expected).detach())
    with pytest.raises(InputError, match="one row for each sample"):
        TrainingMinibatches(model, criterion, ({"first": inputs["first"], "second": labels[:2]}, labels), 4)
