"""Weights that forward reads past its layers are refused; a risk says if weights outside of the model changed."""

import functools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscope as ls
from landscope.errors import InputError

GENERATOR = torch.Generator().manual_seed(0)
X, Y = torch.randn(12, 4, generator=GENERATOR), torch.arange(12) % 3


def losses(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1], reduction="none")


MAKERS = {
    "criterion": lambda model, **options: ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (X, Y), **options),
    "closure": lambda model, **options: ls.EmpiricalRisk.from_closure(model, losses, [(X, Y)], **options),
}


class Held(nn.Module):
    """A model that keeps its weights a second time, in what ``hold`` makes of them."""

    def __init__(self, hold, read):
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 3)
        self.held, self.read = hold(self.last.weight), read

    def forward(self, x):
        return torch.tanh(self.first(x)) @ self.read(self.held).T + self.last.bias


HOLDS = {
    "list": (lambda weight: [weight], lambda held: held[0]),
    "dict": (lambda weight: {"w": weight}, lambda held: held["w"]),
    "nested": (lambda weight: {"w": [(weight,)]}, lambda held: held["w"][0][0]),
    "closure": (lambda weight: lambda: weight, lambda held: held()),
    "default": (lambda weight: lambda w=weight: w, lambda held: held()),
    "values": (lambda weight: [weight], lambda held: held[0].data),
}


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("name", HOLDS)
def test_a_selected_weight_that_is_read_past_its_layer_is_refused_by_name(name, maker):
    model = Held(*HOLDS[name])
    with pytest.raises(InputError, match=r"got Held, which reads last\.weight in another way"):
        MAKERS[maker](model)
    # the other weights alone have the right loss
    space = ls.ParameterSpace.of(model, ["first", "last.bias"])
    risk = MAKERS[maker](model, space=space)
    w = risk.w0 + 0.5
    expected = float(losses(risk.model_at(w), (X, Y)).mean().detach())
    assert float(risk(w)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("maker", MAKERS)
def test_a_list_of_parameters_that_torch_knows_sees_every_weight(maker):
    model = Held(lambda weight: nn.ParameterList([weight]), lambda held: held[0])
    risk = MAKERS[maker](model)
    for name, size in zip(risk.space.names, risk.space.sizes, strict=True):
        w = risk.w0.clone()
        w[risk.space.columns([name])] += torch.linspace(-1, 1, size)
        moved = float(losses(risk.model_at(w), (X, Y)).mean().detach())
        assert float(risk(w)) == pytest.approx(moved, rel=1e-5)
        assert abs(moved - float(risk(risk.w0))) > 1e-4


def after(outside):
    """A model that uses a module which is no part of it."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(4, 3)

        def forward(self, x):
            with torch.no_grad():
                values = torch.tanh(outside(x))
            return self.last(values)

    return Model()


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
@pytest.mark.parametrize("maker", MAKERS)
def test_a_risk_says_that_a_module_outside_of_the_model_changed(maker):
    outside = nn.Linear(4, 4)
    risk = MAKERS[maker](after(outside))
    before, kept = float(risk(risk.w0)), outside.weight.detach().clone()
    torch.optim.SGD(outside.parameters(), lr=0.0).step()
    with torch.no_grad():
        outside.weight.copy_(kept)
    assert float(risk(risk.w0)) == before  # written, but the same
    with torch.no_grad():
        outside.weight += 1
    fisher = functools.partial(risk.fisher_information().diagonal, kind="empirical")
    for derive in (risk, risk.gradient, fisher, risk.sample_losses):
        with pytest.raises(InputError, match=r"outside of the model.*\[4, 4\].*self\.encoder = encoder"):
            derive(risk.w0)
    with torch.no_grad():
        outside.weight.copy_(kept)
    assert float(risk(risk.w0)) == before


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
def test_a_risk_says_that_a_fused_optimiser_trained_a_module_outside_of_the_model():
    """PyTorch counts no change of a weight by a fused optimiser."""
    outside = nn.Linear(4, 4)
    risk = MAKERS["criterion"](after(outside))
    outside(X).square().mean().backward()
    torch.optim.Adam(outside.parameters(), lr=0.1, fused=True).step()
    with pytest.raises(InputError, match=r"outside of the model.*\[4, 4\]"):
        risk(risk.w0)
