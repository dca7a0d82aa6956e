"""Models with hooks, with branches, and that work in place: every value is that of the whole model."""

import copy

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.reproduction.experiment.networks import mlp
from naive import RTOL, assert_lines_agree, naive_loss, vectors


class Branching(nn.Module):
    """Python control flow on data: cannot be traced."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        return self.layer(x) if x.sum() > -1e9 else -self.layer(x)


def test_an_untraceable_model_gets_the_same_numbers_and_one_warning():
    model, (inputs, targets) = Branching(), vectors()
    with pytest.warns(UserWarning, match="makes a decision by the values of a tensor"):
        risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, (inputs, targets))
    assert not risk.is_traced
    w = risk.w0 + 0.5
    assert float(risk(w)) == pytest.approx(naive_loss(model, inputs, targets, risk.space, w), rel=RTOL)
    found = ls.flatness(risk, risk.w0, torch.randn(2, risk.space.dim), max_displacement=30.0)
    assert bool(found.bracketed.all())


class NormInForward(nn.Module):
    """A division by a norm of the parameters in Python, which tracing freezes."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        return self.layer(x) / sum(float(p.detach().norm()) for p in self.parameters())


def hooked(position):
    model = mlp([6, 8, 8, 3])
    model[position].register_forward_hook(lambda module, inputs, output: output.square())
    return model


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        x -= 0.5
        x /= 0.3
        return self.layer(x)


class InPlaceOnKept(nn.Module):
    """A later layer changes a stored value in place."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        h = torch.relu(x)
        h += self.first(h)
        return self.second(h)


AWKWARD = {
    "norm in forward": (NormInForward, None),
    "hook on the head": (lambda: hooked(4), "2.weight"),
    "hook on the selected layer": (lambda: hooked(2), "2.weight"),
    "in place on the inputs": (InPlace, None),
    "in place on a kept value": (InPlaceOnKept, "first.*"),
    "inplace relu first": (lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 3)), None),
}


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_models_get_right_numbers_away_from_w0(name):
    build, select = AWKWARD[name]
    model, (inputs, targets) = build(), vectors(300)
    kept = inputs.clone()
    space = ls.ParameterSpace.of(model, select)
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, (inputs, targets), space=space)
    direction = torch.randn(space.dim)
    for repeat in range(2):
        for step in (0.0, 0.5, 2.0):
            w = risk.w0 + step * direction
            twin = copy.deepcopy(model).eval()
            with torch.no_grad():
                for name_, value in space.unflatten(w).items():
                    dict(twin.named_parameters())[name_].copy_(value)
                exact = float(nn.functional.cross_entropy(twin(kept.clone()).double(), targets))
            assert float(risk(w)) == pytest.approx(exact, rel=1e-5), (repeat, step)
            line = ls.loss_profiles(risk, risk.w0, direction[None], torch.tensor([step])).loss
            assert float(line) == pytest.approx(exact, rel=1e-5), (repeat, step)
    assert torch.equal(inputs, kept)


@pytest.mark.parametrize("place", ["on the activation", "on the last layer", "on the moved layer"])
def test_hooks_are_part_of_the_model(place):
    model = mlp([6, 8, 8, 3])
    layer = {"on the activation": 3, "on the last layer": 4, "on the moved layer": 2}[place]
    model[layer].register_forward_hook(lambda module, inputs, output: output.clamp(max=0.05))
    inputs, targets = torch.randn(200, 6), torch.randint(0, 3, (200,))
    inputs[:64] *= 1e-3  # the hook does nothing to the samples that are looked at first
    space = ls.ParameterSpace.of(model, "2.weight")
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, (inputs, targets), space=space)
    assert_lines_agree(model, (inputs, targets), risk, torch.randn(1, space.dim), torch.tensor([0.0, 1.0]))


class WorksInPlace(nn.Module):
    """Overwrites a prefix output that the rest of the model reads."""

    def __init__(self):
        super().__init__()
        self.stem, self.moved, self.head = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.stem(x).add_(torch.tanh(self.moved(x))))


@pytest.mark.parametrize("cache_bytes", [2**30, 1])
@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
def test_a_model_that_works_in_place_gives_the_same_answers(cache_bytes):
    model, data = WorksInPlace(), vectors()
    space = ls.ParameterSpace.of(model, "moved.weight")
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, data, space=space, cache_bytes=cache_bytes)
    assert_lines_agree(model, data, risk, torch.randn(1, space.dim), torch.tensor([0.2, -0.3, 0.7]))
