"""No earlier task rises by more than its share: the worst task decides, and is named."""

import contextlib
import itertools
import math

import pytest
import torch
from torch import nn

import landscope as ls
from blobs import CRITERION, learn, network, sgd, task
from landscope.errors import InputError
from landscope.memory import Budget, Replay, Samples
from landscope.memory.report.rise import RiseOfTasks, allowed_rise, losses_by_task

STIFF, SOFT = 9.0, 1.0
"""Two tasks L_k = 1 + s_k w^2 that both end at w = 0. A rise by 0.5 allows w^2 = 1/18 for the stiff one, and w^2 = 1/10
for the mean 1 + 5 w^2, where the stiff one has risen by 0.9."""


def losses(model):
    w2 = model.weight.detach().square().sum()
    return {"stiff": 1 + STIFF * w2, "soft": 1 + SOFT * w2}


def mean(model):
    return sum(losses(model).values()) / 2


def gone_back(measure):
    """Where a budget of 0.5 lets weights go that went to w = 1."""
    model = nn.Linear(1, 1, bias=False)

    @contextlib.contextmanager
    def at(w):
        model.weight.data.copy_(w.view(1, 1))
        yield model

    nn.init.zeros_(model.weight)
    budget = Budget(0.5, absolute=0.0, measure=measure)
    budget.start(model, torch.zeros(1), loss1=1.0)
    return float(budget.follow(0.1, torch.ones(1), at)), budget.spent()


def test_the_worst_task_is_within_the_budget_where_the_mean_would_let_it_go():
    w, spent = gone_back(losses)
    assert w == math.floor(64 * math.sqrt(1 / 18)) / 64  # six halvings
    assert spent.task == "stiff"
    assert spent.measured == pytest.approx(math.log(1 + STIFF * w**2), rel=1e-6)
    assert spent.measured <= spent.allowed == math.log(1.5)
    assert spent.by_task == pytest.approx({"stiff": spent.measured, "soft": math.log(1 + SOFT * w**2)}, rel=1e-6)
    assert str(spent) == f"loss of stiff (the worst task) +{100 * STIFF * w**2:.3g} % of +50 % allowed"


def test_one_number_bounds_the_mean_alone_and_names_no_task():
    w, spent = gone_back(mean)
    assert w == math.floor(64 * math.sqrt(1 / 10)) / 64
    assert STIFF * w**2 > 0.5
    assert (spent.task, spent.by_task) == (None, {})
    assert str(spent) == f"mean loss +{100 * 5 * w**2:.3g} % of +50 % allowed"


def test_each_task_has_its_own_absolute_rise():
    before = {"small": 0.001, "large": 1.0}
    found = RiseOfTasks.between(before, {"small": 0.006, "large": 1.04}, rise=0.05, absolute=0.01)
    assert found.allowed == pytest.approx({"small": math.log(11), "large": math.log(1.05)})
    assert found.worst == "large"  # 80 % of its budget; the other rose sixfold, and used 75 % of its own
    assert found.is_within
    assert not RiseOfTasks.between(before, {"small": 0.012, "large": 1.0}, rise=0.05, absolute=0.01).is_within


def test_a_loss_of_zero_may_rise_by_the_absolute_amount():
    found = RiseOfTasks.between({"a": 0.0}, {"a": 0.0099}, rise=0.05, absolute=0.01)
    assert found.is_within
    assert not RiseOfTasks.between({"a": 0.0}, {"a": 0.0101}, rise=0.05, absolute=0.01).is_within
    assert allowed_rise(math.nan, 0.05, 0.01) == math.log1p(0.05)


def test_a_prediction_is_the_sum_of_all_tasks_within_the_smallest_bound():
    budget = Budget(0.05, absolute=0.01)
    budget.start(nn.Linear(1, 1), torch.zeros(2), loss1=max(0.001, 1.0))
    budget.follow(0.02, torch.zeros(2), lambda _: contextlib.nullcontext(nn.Linear(1, 1)))
    assert budget.allowed == pytest.approx(math.log(1.05))
    assert str(budget.spent()) == "sum of the rises of all tasks +2.02 %, predicted, of +5 % allowed"
    memory, _ = two_tasks("basin", samples=0)
    assert memory.rise.allowed == pytest.approx(allowed_rise(max(memory._tasks.losses), 0.3, 0.0))


def test_a_budget_that_lost_its_samples_begins_a_task_with_the_losses_of_all():
    model, w1 = nn.Linear(1, 1), torch.zeros(2)
    budget = Budget(0.05, absolute=0.01, measure=lambda _: {"a": 0.01})
    budget.start(model, w1, loss1=1.0)
    assert budget.allowed == pytest.approx(math.log(2))
    budget.follow_model(lambda w: w, None)
    assert budget.allowed == pytest.approx(math.log(2))  # still from where the samples were measured
    budget.start(model, w1, loss1=0.1)
    assert budget.allowed == pytest.approx(math.log(1.1))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([0.1, 0.2], "the loss of each task"),
        ({}, "at least one task"),
        ({"a": math.nan}, "the measured loss of a as a finite number"),
        (math.inf, "the measured loss as a finite number"),
    ],
)
def test_what_is_no_loss_is_refused(found, message):
    with pytest.raises(InputError, match=message):
        losses_by_task(found)


def test_other_tasks_in_the_middle_are_refused():
    names = itertools.cycle(["a", "b"])  # also after the losses at the end of the task were measured again
    budget = Budget(0.5, measure=lambda _: {next(names): 1.0})
    model = nn.Linear(1, 1)
    budget.start(model, torch.zeros(2), loss1=1.0)
    with pytest.raises(InputError, match="the same tasks as before, a; got b"):
        budget.follow(0.1, torch.zeros(2), lambda _: contextlib.nullcontext(model))


def two_tasks(method, samples, **options):
    """A memory of two tasks with a budget of 30 %."""
    model = network()
    memory, optimizer = ls.TaskMemory(model, method=method, **options), sgd(model)
    memory.budget(0.3, absolute=0.0, samples=samples, every=4)
    for number, steps in enumerate((150, 80)):
        with memory.training(optimizer):
            learn(model, optimizer, task(number), steps, torch.Generator().manual_seed(number))
        memory.consolidate(CRITERION, task(number), name="ab"[number])
    return memory, optimizer


def loss_of(model, number):
    with torch.no_grad():
        return CRITERION(model(task(number)[0]), task(number)[1]).item()


def test_every_task_of_a_training_stays_within_the_budget():
    memory, optimizer = two_tasks("l2", 10**6, strength=0.01)
    before = [loss_of(memory.model, number) for number in range(2)]
    with memory.training(optimizer):
        learn(memory.model, optimizer, task(2), 100, torch.Generator().manual_seed(2))
    rises = [math.log(loss_of(memory.model, number) / before[number]) for number in range(2)]
    assert max(rises) <= math.log(1.3) + 1e-5  # float32
    assert memory.rise.by_task == pytest.approx(dict(zip("ab", rises, strict=True)), abs=1e-5)
    assert memory.rise.task == "ab"[rises.index(max(rises))]


def test_held_out_samples_of_a_replay_are_measured_for_each_task():
    """Of 256 samples, 100 are held out of the first task, and 20 of the 40 that the second one has."""
    model = network()
    memory, optimizer = ls.TaskMemory(model, method=None, replay=Replay(16, Samples(50))), sgd(model)
    memory.budget(0.3, samples=100)
    for number, data in enumerate((task(0), tuple(part[:40] for part in task(1)))):
        with memory.training(optimizer):
            learn(model, optimizer, data, 20, torch.Generator().manual_seed(number))
        memory.consolidate(CRITERION, data)
    tasks = memory._tasks.replayed
    assert tasks.counts == (100, 20)
    assert "measured on 20 to 100 samples of each task" in repr(memory)
    (inputs,) = tasks.held_out.inputs if isinstance(tasks.held_out.inputs, tuple) else (tasks.held_out.inputs,)
    with torch.no_grad():
        found = [
            CRITERION(model(inputs[part]), tasks.held_out.labels[part]).item()
            for part in (slice(None, 100), slice(100, None))
        ]
    assert tasks.measured(model) == pytest.approx(found, rel=1e-5)
    other = ls.TaskMemory(model, method=None, replay=Replay(16, Samples(50)))
    other.load_state_dict(memory.state_dict())
    assert other._tasks.replayed.counts == (100, 20)
    assert other.rise == memory.rise


def test_a_state_has_the_rise_of_every_task():
    model = network()
    memory, optimizer = ls.TaskMemory(model, method="l2", strength=0.01), sgd(model)

    def measure(m):
        return {name: loss_of(m, number) for number, name in enumerate("ab")}

    memory.budget(0.5, absolute=2.0, samples=measure)
    memory.consolidate(CRITERION, task(0))
    with memory.training(optimizer):
        learn(model, optimizer, task(2), 20, torch.Generator())
    again = ls.TaskMemory(model, method="l2", strength=0.01)
    again.budget(0.5, absolute=2.0, samples=measure)
    again.load_state_dict(memory.state_dict())
    assert again.rise == memory.rise
    assert again.rise.by_task.keys() == {"a", "b"}


def test_a_large_rise_is_written_without_an_exponent():
    rise = ls.memory.Rise(0.0, math.log(11.9), math.log(14.8), 1.0, "old")
    assert str(rise) == "loss of old +1,090 % of +1,380 % allowed"


@pytest.mark.parametrize(("loss", "why"), [(0.006, " (0.01 in the loss, as 5 % of it is less)"), (6.0, "")])
def test_an_absolute_rise_is_said_where_it_decides(loss, why):
    model = nn.Linear(1, 1, bias=False)
    memory = ls.TaskMemory(model, method="l2", strength=1.0)
    memory.budget(0.05, samples=lambda _: {"old": loss})
    memory.consolidate(nn.MSELoss(), (torch.ones(4, 1), torch.zeros(4, 1)), name="old")
    assert str(memory.rise).endswith(f"allowed{why}")
