"""A risk copies what its loss holds: a teacher that trains on, a number that changes; the model itself is its copy."""

import functools
import types

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscope as ls
from landscope.errors import InputError

GENERATOR = torch.Generator().manual_seed(0)
INPUTS, TARGETS = torch.randn(12, 3, generator=GENERATOR), torch.randn(12, 2, generator=GENERATOR)
TEACHER = nn.Linear(2, 2)
HOLDER = types.SimpleNamespace(teacher=TEACHER)


def distance(teacher, outputs, targets):
    return (outputs - teacher(targets)).square().mean(dim=1)


def by_global_name(outputs, targets):
    return distance(TEACHER, outputs, targets)


def helped(outputs, targets):
    return by_global_name(outputs, targets)


def by_attribute_of_a_global(outputs, targets):
    return distance(HOLDER.teacher, outputs, targets)


class AsModule(nn.Module):
    def __init__(self, teacher):
        super().__init__()
        self.teacher = teacher

    def forward(self, outputs, targets):
        return distance(self.teacher, outputs, targets)


class Trainer:
    def __init__(self, teacher):
        self.teachers = {"first": [teacher]}

    def loss(self, outputs, targets):
        return distance(self.teachers["first"][0], outputs, targets)

    def __call__(self, outputs, targets):
        return self.loss(outputs, targets)


def in_closure(outputs, targets, teacher=TEACHER):
    @torch.no_grad()
    def wanted(targets):
        return teacher(targets)

    return (outputs - wanted(targets)).square().mean(dim=1)


HELD = {
    "module": AsModule(TEACHER),
    "closure": (lambda teacher: lambda outputs, targets: distance(teacher, outputs, targets))(TEACHER),
    "default": in_closure,
    "partial": functools.partial(distance, TEACHER),
    "bound method": Trainer(TEACHER).loss,
    "callable object": Trainer(TEACHER),
    "global name": by_global_name,
    "function of a function": helped,
    "attribute of a global": by_attribute_of_a_global,
}


@pytest.mark.parametrize("name", HELD)
@pytest.mark.parametrize("as_closure", [False, True])
def test_a_teacher_that_trains_on_moves_no_risk(name, as_closure):
    criterion, model = HELD[name], nn.Linear(3, 2)
    if as_closure:
        risk = ls.EmpiricalRisk.from_closure(model, lambda m, b: criterion(m(b[0]), b[1]), [(INPUTS, TARGETS)])
    else:
        risk = ls.EmpiricalRisk(model, criterion, (INPUTS, TARGETS))
    exact = float((model(INPUTS) - TEACHER(TARGETS)).square().mean().detach())
    assert float(risk(risk.w0)) == pytest.approx(exact, rel=1e-5)
    weight = TEACHER.weight.detach().clone()
    try:
        with torch.no_grad():
            TEACHER.weight += 1
        assert float(risk(risk.w0)) == pytest.approx(exact, rel=1e-5)
        # the loss of the user has the new teacher
        moved = float((model(INPUTS) - TEACHER(TARGETS)).square().mean().detach())
        assert float(criterion(model(INPUTS), TARGETS).mean().detach()) == pytest.approx(moved, rel=1e-5)
        assert abs(moved - exact) > 0.1
    finally:
        with torch.no_grad():
            TEACHER.weight.copy_(weight)


def test_a_number_in_a_closure_is_kept_as_it_is():
    strength = 1.0

    def loss(outputs, targets):
        return strength * (outputs - targets).square().mean(dim=1)

    risk = ls.EmpiricalRisk(nn.Linear(3, 2), loss, (INPUTS, TARGETS))
    before = float(risk(risk.w0))
    strength = 2.0
    assert float(risk(risk.w0)) == before


MODEL = nn.Linear(3, 2)
bias = MODEL.bias  # a global that has the name of an attribute


def by_attribute(outputs, targets):
    return (outputs - targets - TEACHER.bias).square().mean(dim=1)


def test_an_attribute_with_the_name_of_a_global_is_not_that_global():
    risk = ls.EmpiricalRisk(MODEL, by_attribute, (INPUTS, TARGETS))
    exact = float((MODEL(INPUTS) - TARGETS - TEACHER.bias).square().mean().detach())
    assert float(risk(risk.w0)) == pytest.approx(exact, rel=1e-5)


def with_decay(model):
    return lambda outputs, targets: (outputs - targets).square().mean(dim=1) + model.weight.square().sum()


class WithLoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.scale = nn.Linear(3, 2), 2.0

    def forward(self, x):
        return self.layer(x)

    def loss(self, outputs, targets):
        return self.scale * (outputs - targets).square().mean(dim=1)


def test_a_criterion_with_a_penalty_of_the_model_depends_on_the_weights_by_both():
    model = nn.Linear(3, 2)
    risk = ls.EmpiricalRisk(model, with_decay(model), (INPUTS, TARGETS))
    w = (risk.w0 + 0.3).requires_grad_()
    weight, bias = w[:6].view(2, 3), w[6:]
    exact = (F.linear(INPUTS, weight, bias) - TARGETS).square().mean() + weight.square().sum()
    slope = torch.autograd.grad(exact, w)[0]
    assert float(risk(w.detach())) == pytest.approx(float(exact.detach()), rel=1e-5)
    assert torch.allclose(risk.gradient(w.detach()), slope, rtol=1e-4, atol=1e-6)
    line = ls.loss_profiles(risk, risk.w0, torch.ones(1, 8), torch.tensor([0.3])).loss
    assert float(line) == pytest.approx(float(exact.detach()), rel=1e-5)


def test_a_method_of_the_model_that_uses_no_weights_leaves_the_model_traced():
    model = WithLoss()
    risk = ls.EmpiricalRisk(model, model.loss, (INPUTS, TARGETS))
    assert risk.is_traced
    assert float(risk(risk.w0)) == pytest.approx(
        2 * float((model(INPUTS) - TARGETS).square().mean().detach()), rel=1e-5
    )


def test_a_closure_over_the_model_sees_the_selected_weights():
    model = nn.Linear(3, 2)
    data = [(INPUTS, TARGETS)]
    risk = ls.EmpiricalRisk.from_closure(model, lambda _, batch: (model(batch[0]) - batch[1]).square().mean(1), data)
    plain = ls.EmpiricalRisk(model, nn.MSELoss(), data)
    w = plain.w0 + 0.5
    assert float(risk(w)) == pytest.approx(float(plain(w)), rel=1e-5)
    assert torch.allclose(risk.gradient(w), plain.gradient(w), atol=1e-5)


def test_selected_weights_held_apart_from_the_model_are_refused():
    model = nn.Linear(3, 2)
    weights = [model.weight]

    def loss(outputs, targets):
        return (outputs - targets).square().mean(dim=1) + weights[0].square().sum()

    tied = AsModule(nn.Linear(2, 2))
    tied.teacher.bias = model.bias
    for criterion, name in ((loss, "weight"), (tied, "bias")):
        with pytest.raises(InputError, match=rf"a function that holds {name} itself.*from_closure"):
            ls.EmpiricalRisk(model, criterion, (INPUTS, TARGETS))


def test_a_function_that_calls_itself_and_a_module_without_a_copy():
    def power(x, n):
        return x if n == 1 else x * power(x, n - 1)

    risk = ls.EmpiricalRisk(nn.Linear(3, 2), lambda o, t: power(o - t, 2).mean(dim=1), (INPUTS, TARGETS))
    assert float(risk(risk.w0)) > 0
    teacher = nn.Linear(2, 2)
    teacher.last = teacher(TARGETS)  # a result of a forward pass has no copy
    with pytest.raises(InputError, match=r"modules can be copied; got Linear: RuntimeError"):
        ls.EmpiricalRisk(nn.Linear(3, 2), functools.partial(distance, teacher), (INPUTS, TARGETS))
