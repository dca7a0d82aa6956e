"""Implicit steps of a penalty in a training loop."""

import contextlib
import copy

import pytest
import torch
from torch import nn

import landscope as ls
from blobs import learn, network, sgd, task
from landscope.errors import InputError, NonFiniteError
from landscope.reproduction.experiment.networks import mlp
from optimizers import AdamWScheduleFree, Lion

DATA = (torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1] * 4))


def penalty_on(model, select="2.weight", stiffness=3.0):
    space = ls.ParameterSpace.of(model, select)
    w = space.flatten(model)
    return ls.penalties.QuadraticPenalty(anchor=w, stiffness=torch.full_like(w, stiffness), parameters=space.names)


def train(model, optimizer, steps=5, scheduler=None):
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(DATA[0]), DATA[1]).backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()


@pytest.mark.parametrize(("make", "factor"), [
    (lambda p: torch.optim.SGD(p, lr=0.3), 1),
    (lambda p: torch.optim.SGD(p, lr=0.03, momentum=0.9, nesterov=True), 10),
    (lambda p: torch.optim.SGD(p, lr=0.03, momentum=0.8, dampening=0.5), 2.5),
])  # fmt: skip
def test_each_step_is_the_optimisers_own_and_then_the_implicit_step(make, factor):
    model = mlp([4, 3, 3, 2], seed=0)
    twin = copy.deepcopy(model)
    penalty = penalty_on(model)
    ours, theirs = make(model.parameters()), make(twin.parameters())
    schedules = [torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5) for optimizer in (ours, theirs)]
    with ls.ProximalSteps(penalty, model, ours):
        train(model, ours, scheduler=schedules[0])
    for _ in range(5):
        rate = theirs.param_groups[0]["lr"]
        train(twin, theirs, steps=1)
        with torch.no_grad():
            twin[2].weight.copy_(penalty.proximal_step(twin[2].weight.flatten(), factor * rate).view(3, 3))
        schedules[1].step()
    for first, second in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(first, second, rtol=1e-6)


def test_it_ends_with_the_block_also_after_an_error():
    model = mlp([4, 3, 3, 2], seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    with contextlib.suppress(ZeroDivisionError), ls.ProximalSteps(penalty_on(model), model, optimizer) as steps:
        train(model, optimizer)
        assert steps.value() > 0
        raise ZeroDivisionError
    assert not optimizer._optimizer_step_post_hooks


def test_a_penalty_that_makes_explicit_descent_diverge_is_held():
    model = mlp([4, 3, 3, 2], seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    with ls.ProximalSteps(penalty_on(model, stiffness=1e6), model, optimizer) as steps:
        train(model, optimizer, steps=50)
    assert steps.value() < 1e-4


def test_what_does_not_fit_is_refused_before_anything_is_done():
    model = mlp([4, 3, 3, 2], seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    penalty = penalty_on(model)
    with pytest.raises(InputError, match=r"a model without 2\.weight"):
        ls.ProximalSteps(penalty, nn.Linear(4, 2), optimizer)
    with pytest.raises(InputError, match=r"the 6 selected parameters.*got a penalty on 9"):
        ls.ProximalSteps(penalty, model, optimizer, select="4.weight")
    with pytest.raises(InputError, match=r"an optimiser without 2\.weight"):
        ls.ProximalSteps(penalty, model, torch.optim.SGD(model[4].parameters(), lr=0.1))
    wider = mlp([4, 5, 5, 2], seed=0)
    with pytest.raises(InputError, match=r"the 25 selected parameters.*got a penalty on 9"):
        ls.ProximalSteps(penalty, wider, torch.optim.SGD(wider.parameters(), lr=0.1))
    assert not optimizer._optimizer_step_post_hooks


def test_weights_that_became_nan_are_reported():
    model = mlp([4, 3, 3, 2], seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    penalty = penalty_on(model)
    model(DATA[0]).sum().backward()
    model[2].weight.grad.fill_(float("nan"))
    with ls.ProximalSteps(penalty, model, optimizer), pytest.raises(NonFiniteError, match="after a step"):
        optimizer.step()


def test_each_group_takes_the_step_of_its_own_learning_rate():
    """With penalties on different weights, two learning rates are two runs; a rate of 0 moves nothing."""
    model = mlp([4, 3, 3, 2], seed=0)
    twin = copy.deepcopy(model)
    rates = {"2.weight": 0.1, "4.weight": 0.3, "0.weight": 0.0}
    groups = [{"params": [model.get_parameter(name)], "lr": rate} for name, rate in rates.items()]
    start = model[0].weight.detach().clone()
    with ls.ProximalSteps(penalty_on(model, list(rates)), model, optimizer := torch.optim.SGD(groups, lr=1.0)):
        train(model, optimizer)
    assert torch.equal(model[0].weight, start)
    parts = {name: penalty_on(twin, name) for name in rates}
    theirs = torch.optim.SGD([{"params": [twin.get_parameter(name)], "lr": rate} for name, rate in rates.items()])
    for _ in range(5):
        train(twin, theirs, steps=1)
        for name, rate in rates.items():
            if rate:
                weight = twin.get_parameter(name).data
                weight.copy_(parts[name].proximal_step(weight.flatten(), rate).view_as(weight))
    for name in rates:
        assert torch.allclose(model.get_parameter(name), twin.get_parameter(name), rtol=1e-5, atol=1e-7), name


@pytest.mark.parametrize("make", [
    lambda p: torch.optim.SGD(p, lr=0.05), lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.5, dampening=0.3),
])  # fmt: skip
def test_it_comes_to_rest_where_loss_plus_penalty_is_least(make):
    """L = (w - 1)^2 / 2 and V = w^2 / 2 meet at 1/2."""
    model = nn.Linear(1, 1, bias=False).double()
    penalty = ls.penalties.QuadraticPenalty(anchor=torch.zeros(1).double(), stiffness=torch.full((1,), 0.5).double())
    optimizer = make(model.parameters())
    with ls.ProximalSteps(penalty, model, optimizer):
        for _ in range(300):
            optimizer.zero_grad()
            (0.5 * (model.weight - 1).square().sum()).backward()
            optimizer.step()
    assert float(model.weight.detach()) == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_steps_that_a_scaler_skips_are_skipped(kind, fused):
    model = nn.Linear(1, 1, bias=False)
    optimizer = kind(model.parameters(), lr=0.5, fused=fused, weight_decay=0.0)
    penalty = ls.penalties.QuadraticPenalty(anchor=torch.zeros(1), stiffness=torch.ones(1))
    scaler = torch.amp.GradScaler("cpu")
    with ls.TrajectoryRecorder(model, optimizer) as recorder, ls.ProximalSteps(penalty, model, optimizer):
        for gradient, moves in ((float("inf"), False), (0.0, True)):
            with torch.no_grad():
                model.weight.fill_(1.0)
            optimizer.zero_grad()
            scaler.scale((gradient * model.weight).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
            held = float(model.weight.detach())
            assert held == 1.0 if not moves else held <= 0.5
    assert recorder.trajectory().weights.tolist() == [[held]]
    assert recorder.trajectory().steps.tolist() == [1]


def test_tied_weights_are_held_under_all_their_names():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
    model[2].weight = model[0].weight
    data = (torch.randn(6, 2), torch.tensor([0, 1] * 3))
    risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), data)
    penalty = ls.penalties.elastic_weight_consolidation(risk, risk.w0, strength=1e9)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ls.ProximalSteps(penalty, model, optimizer):
        nn.functional.cross_entropy(model(data[0]), 1 - data[1]).backward()
        optimizer.step()
    assert torch.allclose(model[0].weight.flatten(), risk.w0, atol=1e-3)


def test_layers_in_another_order_and_frozen_ones_are_refused():
    def network(order):
        return nn.ModuleDict({name: nn.Linear(4, 4, bias=False) for name in order})

    old, new = network("ab"), network("ba")
    penalty = penalty_on(old, None)
    with pytest.raises(InputError, match=r"in the order a\.weight, b\.weight"):
        ls.ProximalSteps(penalty, new, torch.optim.SGD(new.parameters(), lr=0.1))
    old["a"].requires_grad_(False)
    with pytest.raises(InputError, match=r"got frozen ones, a\.weight"):
        ls.ProximalSteps(penalty, old, torch.optim.SGD(old.parameters(), lr=0.1))


def test_a_recorder_sees_the_weights_after_both_steps_in_either_order():
    seen = []
    for recorder_first in (True, False):
        model = mlp([4, 3, 3, 2], seed=0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
        recorder = ls.TrajectoryRecorder(model, optimizer, select="2.weight")
        steps = ls.ProximalSteps(penalty_on(model), model, optimizer)
        with contextlib.ExitStack() as stack:
            for entered in (recorder, steps) if recorder_first else (steps, recorder):
                stack.enter_context(entered)
            train(model, optimizer)
        seen.append(recorder.trajectory().weights)
        assert torch.equal(seen[-1][-1], model[2].weight.detach().flatten())
    assert torch.equal(*seen)


def test_what_takes_no_step_and_what_no_penalty_holds_is_said():
    model = mlp([4, 3, 3, 2], seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    with pytest.warns(UserWarning, match="never entered"):
        ls.ProximalSteps(penalty_on(model), model, optimizer)
    normalised = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    optimizer = torch.optim.SGD(normalised.parameters(), lr=0.3)
    penalty = penalty_on(normalised, "0.weight")
    with pytest.warns(UserWarning, match="layers .1. update running statistics"):
        steps = ls.ProximalSteps(penalty, normalised, optimizer)
    with steps:
        pass
    normalised[1].eval()
    with ls.ProximalSteps(penalty, normalised, optimizer):
        pass


def test_two_on_the_same_weights_are_no_sum_and_refused():
    model = mlp([4, 3, 3, 2], seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    with ls.ProximalSteps(penalty_on(model), model, optimizer):
        with ls.ProximalSteps(penalty_on(model, "4.weight"), model, optimizer):
            train(model, optimizer)
        second = ls.ProximalSteps(penalty_on(model), model, optimizer)
        with pytest.raises(InputError, match="PenaltySum"):
            second.__enter__()
    with second:
        train(model, optimizer)
    assert not optimizer._optimizer_step_post_hooks
    optimizer.param_groups[0]["momentum"] = 1.0
    with pytest.raises(InputError, match="a momentum below 1"):
        ls.ProximalSteps(penalty_on(model), model, optimizer)


NOISE = torch.tensor([0.3, 10.0])
"""Standard deviations of the gradients of two kinds of weights."""
COPIES = 100
RESTS = {
    "SGD": (lambda p: torch.optim.SGD(p, lr=0.02), 1e-5),
    "Adam": (lambda p: torch.optim.Adam(p, lr=0.1), 1e-3),
    "AdamW": (lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.0), 1e-3),
    "AdamW of language models": (lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.9, 0.95), weight_decay=0.0), 0.0125),
    "RAdam": (lambda p: torch.optim.RAdam(p, lr=0.1), 0.01),
    "RMSprop": (lambda p: torch.optim.RMSprop(p, lr=0.1), 2.5e-3),
    "RMSprop, momentum": (lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True), 2.5e-3),
    "Adagrad": (lambda p: torch.optim.Adagrad(p, lr=2.0), 1e-3),
    "Adadelta": (lambda p: torch.optim.Adadelta(p, lr=20.0), 0.025),
    "Adafactor": (lambda p: torch.optim.Adafactor(p, lr=0.2), 0.02),
    "Lion": (lambda p: Lion(p, lr=0.03), 0.02),
    "schedule-free": (lambda p: AdamWScheduleFree(p, lr=0.1), 0.01),
}


def rest(make, penalty, steps=600):
    """The mean weights of each kind in the second half, for L = (w - 1)^2 / 2 with noisy gradients.

    Half of the copies have the opposite noise of the other half, which cancels in the mean where steps are linear.
    """
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(COPIES, len(NOISE), bias=False)
    nn.init.constant_(model.weight, 0.3)
    optimizer, total = make(model.parameters()), torch.zeros(len(NOISE))
    with ls.ProximalSteps(penalty, model, optimizer):
        for step in range(steps):
            noise = NOISE[:, None] * torch.randn(len(NOISE), COPIES // 2, generator=generator)
            model.weight.grad = model.weight.detach() - 1 + torch.cat([noise, -noise], dim=1)
            optimizer.step()
            if step >= steps // 2:
                total += model.weight.detach().mean(dim=1) / (steps - steps // 2)
    return total


@pytest.mark.parametrize("name", list(RESTS))
def test_under_unequal_noise_it_comes_to_rest_where_loss_plus_penalty_is_least(name):
    """V = w^2 / 2 meets L at 1/2, whatever the noise.

    A mean square that contains the gradient shortens its mean step by the share s = 1 - beta_2, so that
    (1 - s)(1 - w) = w and w = 1/2 - s / 4: the tolerance, and at least 0.001. Those of RAdam and the schedule-free
    optimiser, which take the beginning along, of Adafactor, whose s is t^-0.8, and of Lion are what is promised.
    """
    make, tolerance = RESTS[name]
    n = COPIES * len(NOISE)
    penalty = ls.penalties.QuadraticPenalty(anchor=torch.zeros(n), stiffness=torch.full((n,), 0.5))
    assert torch.allclose(rest(make, penalty), torch.tensor(0.5), rtol=0, atol=tolerance)


def test_an_optimiser_of_unknown_step_size_is_named():
    model = network()
    penalty = ls.penalties.distance_penalty(ls.ParameterSpace.of(model).flatten(model))
    optimizer = torch.optim.Rprop(model.parameters())
    with ls.ProximalSteps(penalty, model, optimizer), pytest.warns(UserWarning, match="the step size of Rprop"):
        learn(model, optimizer, task(0), 2, torch.Generator())
    for known in (sgd(model), torch.optim.NAdam(model.parameters()), torch.optim.RMSprop(model.parameters())):
        with ls.ProximalSteps(penalty, model, known):
            learn(model, known, task(0), 2, torch.Generator())


@pytest.mark.parametrize("make", [lambda p: torch.optim.AdamW(p, lr=0.01), lambda p: AdamWScheduleFree(p, lr=0.01)])
def test_a_training_that_resumes_from_its_states_takes_the_same_steps(make):
    """Also where the optimiser loads its state while the steps are being taken."""

    def begun(model):
        return ls.penalties.PartPenalty(
            ls.penalties.KroneckerPenalty(anchor=torch.zeros(3, 3), inputs=torch.eye(3) + 0.5, outputs=torch.eye(3)),
            torch.arange(9), dim=9, parameters=("2.weight",),
        ), make(model.parameters())  # fmt: skip

    whole, halves = mlp([4, 3, 3, 2], seed=0), mlp([4, 3, 3, 2], seed=0)
    penalty, optimizer = begun(whole)
    with ls.ProximalSteps(penalty, whole, optimizer):
        train(whole, optimizer, steps=6)
    penalty, optimizer = begun(halves)
    with ls.ProximalSteps(penalty, halves, optimizer):
        train(halves, optimizer, steps=3)
    resumed = mlp([4, 3, 3, 2], seed=1)
    penalty, later = begun(resumed)
    with ls.ProximalSteps(penalty, resumed, later):
        resumed.load_state_dict(halves.state_dict())
        later.load_state_dict(optimizer.state_dict())
        train(resumed, later, steps=3)
    for first, second in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(first, second)
