"""A strength that follows how much farther the outputs move than to first order."""

from __future__ import annotations

import contextlib
import math

import pytest
import torch
from torch import nn
from torch.func import functional_call, jvp

from landscope.errors import InputError
from landscope.memory import KFAC, Basin, TaskMemory
from landscope.memory.strength.output_change import OutputChange
from landscope.parameters import ParameterSpace
from landscope.penalties import distance_penalty

EXACT = 10 * torch.finfo(torch.float32).eps ** (1 / 3)
"""A difference quotient of first order over a step of eps^(1/3) of the length of the weights."""


class Product(nn.Module):
    """Two layers of one weight: the output is a b x."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(2))

    def forward(self, x):
        """The outputs."""
        return x * self.weights.prod()


def ratio(model, w, *, call=None, penalty=None, every=1):
    """The measured ratio when the weights have moved to w."""
    space = ParameterSpace.of(model)
    w1 = space.flatten(model)
    change = OutputChange(model, every=every)

    @contextlib.contextmanager
    def at(weights):
        load(model, space, weights)
        try:
            yield model
        finally:
            load(model, space, w)

    with change.watching(penalty or distance_penalty(w1)):
        (call or (lambda: model(torch.ones(3, 1))))()
        load(model, space, w)
        change.follow(0.0, w, at)
        change.last(w, at)
    return change.factor


def load(model, space, w):
    with torch.no_grad():
        for name, value in space.unflatten(w).items():
            dict(model.named_parameters())[name].copy_(value)


@pytest.mark.parametrize("d", [0.01, 0.5, 3.0])
def test_two_layers_have_the_square_of_one_plus_half_the_way(d):
    """From (1, 1) to (1 + d, 1 + d) the product changes by 2 d + d^2, and to first order by 2 d."""
    assert ratio(Product(), torch.full((2,), 1 + d)) == pytest.approx((1 + d / 2) ** 2, rel=EXACT)


def test_a_linear_model_has_one():
    assert ratio(nn.Linear(1, 2), torch.tensor([5.0, 1.0, -3.0, 2.0])) == pytest.approx(1, abs=1e-4)


def test_outputs_that_move_less_than_to_first_order_do_not_weaken_the_penalty():
    assert ratio(Product(), torch.tensor([0.2, 0.2])) == 1  # |0.04 - 1| below 1.6


def test_it_is_that_of_forward_differentiation():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    space, x = ParameterSpace.of(model), torch.randn(10, 4)
    w1 = space.flatten(model)
    w = w1 + 0.8 * torch.randn_like(w1)

    def outputs(parameters):
        return functional_call(model, parameters, (x,))

    before, slope = jvp(outputs, (space.unflatten(w1),), (space.unflatten(w - w1),))
    right = float((outputs(space.unflatten(w)) - before).square().sum() / slope.square().sum())
    assert ratio(model, w, call=lambda: model(x)) == pytest.approx(max(1.0, right), rel=EXACT)


def test_outputs_that_do_not_move_to_first_order_at_all_hold_with_the_largest_factor():
    model = Product()
    model.weights.data.zero_()
    assert ratio(model, torch.ones(2)) >= 1e4 * (1 - EXACT)


def trained(*, data, steps=60, method="basin", **options):
    """A network that learns a second task while a memory holds the first; the memory and the network."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 2))
    old, new = data
    optimizer, criterion = torch.optim.SGD(model.parameters(), lr=0.5), nn.CrossEntropyLoss()
    learn(model, optimizer, criterion, old, 60)
    memory = TaskMemory(model, method=method, **({"strength": 1.0} | options))
    memory.consolidate(criterion, old)
    if steps:
        with memory.training(optimizer):
            learn(model, optimizer, criterion, new, steps)
    return memory, model, optimizer, criterion


def learn(model, optimizer, criterion, data, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        criterion(model(data[0]), data[1]).backward()
        optimizer.step()


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 64, 6, generator=generator)
    return [(x[0], (x[0, :, 0] > 0).long()), (x[1], (x[1, :, 0] < 0).long())]  # the second task contradicts the first


def test_tasks_that_contradict_each_other_are_held_more(data):
    memory, _, _, _ = trained(data=data)
    alone, _, _, _ = trained(data=data, follow_outputs=False)
    assert memory.output_ratio > 1
    assert alone.output_ratio == 1
    assert memory.follow_outputs
    assert not alone.follow_outputs


def test_a_memory_that_is_loaded_in_the_middle_of_a_task_goes_on_with_the_same_bits(data):
    whole, model, _, _ = trained(data=data, steps=75)
    first, half, optimizer, criterion = trained(data=data, steps=35)
    second = TaskMemory(half, method="basin", strength=1.0)
    second.load_state_dict(first.state_dict())
    with second.training(optimizer):
        learn(half, optimizer, criterion, data[1], 40)
    assert torch.equal(whole.space.flatten(model), whole.space.flatten(half))
    assert second.output_ratio == whole.output_ratio > 1


def test_a_new_task_begins_with_one(data):
    memory, _, _, criterion = trained(data=data)
    memory.consolidate(criterion, data[1])
    assert memory.output_ratio == 1


def test_a_predicted_rise_is_corrected_by_it(data):
    memory, *_ = trained(data=data, steps=0)
    memory.budget(0.05)
    optimizer, criterion = torch.optim.SGD(memory.model.parameters(), lr=0.5), nn.CrossEntropyLoss()
    with memory.training(optimizer):
        learn(memory.model, optimizer, criterion, data[1], 40)
    w = memory.space.flatten(memory.model)
    assert memory.output_ratio > 1
    penalty = memory.output_ratio * float(memory.held(w))
    parabola = math.log1p(math.e * penalty)  # the basin's edge is e times the minimum
    assert memory.rise.predicted == pytest.approx(max(penalty, parabola), rel=1e-4)


def test_every_method_may_follow_the_outputs(data):
    memory, *_ = trained(data=data, method=KFAC(), follow_outputs=True)
    assert memory.output_ratio > 1
    assert not trained(data=data, method=KFAC(), steps=1)[0].follow_outputs


def test_nothing_of_the_users_is_changed_by_a_measurement():
    """Modes of parts, running means, random numbers and gradients stay."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
    model[1].eval()
    x = torch.randn(8, 3)
    model(x).square().mean().backward()
    before = [p.grad.clone() for p in model.parameters() if p.grad is not None], model[1].running_mean.clone()
    space = ParameterSpace.of(model)
    w = space.flatten(model) * 1.5

    def call():
        model(x)
        torch.manual_seed(3)

    ratio(model, w, call=call)
    torch.testing.assert_close([p.grad for p in model.parameters() if p.grad is not None], before[0])
    assert torch.equal(model[1].running_mean, before[1])
    assert torch.equal(torch.rand(2), torch.rand(2, generator=torch.Generator().manual_seed(3)))
    assert [part.training for part in model] == [True, False, True, True]
    assert torch.equal(space.flatten(model), w)


@pytest.mark.parametrize("outputs", ["none", "a loss", "other shapes"])
def test_outputs_that_cannot_be_compared_are_said(outputs):
    class Model(Product):
        def forward(self, x):
            z = super().forward(x)
            return {"none": None, "a loss": z.sum(), "other shapes": z[: int(self.weights[0]) + 1]}[outputs]

    with pytest.warns(UserWarning, match="no outputs of the model could be compared"):
        assert ratio(Model(), torch.full((2,), 2.0)) == 1


def test_calls_without_gradients_are_not_looked_at():
    model = Product()

    def call():
        with torch.no_grad():
            model(torch.ones(1))

    with pytest.warns(UserWarning, match="call the model itself"):
        ratio(model, torch.full((2,), 2.0), call=call)


def test_an_object_with_logits_has_outputs():
    class Output:
        def __init__(self, logits):
            self.loss, self.logits = logits.sum(), logits

    class Model(Product):
        def forward(self, x):
            return Output(super().forward(x))

    assert ratio(Model(), torch.full((2,), 3.0)) == pytest.approx(4, rel=EXACT)


def test_steps_between_measurements_leave_the_factor():
    assert ratio(Product(), torch.full((2,), 3.0), every=2) == 1


def test_a_penalty_in_the_loss_cannot_follow_the_outputs():
    assert not TaskMemory(nn.Linear(2, 2), implicit=False).follow_outputs
    with pytest.raises(InputError, match="implicit steps, whose strength can follow the outputs"):
        TaskMemory(nn.Linear(2, 2), implicit=False, follow_outputs=True)
    assert TaskMemory(nn.Linear(2, 2), method=Basin(), follow_outputs=None).follow_outputs
    assert math.isclose(TaskMemory(nn.Linear(2, 2)).output_ratio, 1.0)
