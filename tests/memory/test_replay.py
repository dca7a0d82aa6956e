"""Samples of earlier tasks that are learnt again, in any loop, beside the penalty."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscope as ls
from landscope.errors import InputError, StorageError
from landscope.memory import Gaussians, Replay, Samples
from landscope.memory.replay.replayed_tasks import ReplayedTasks
from own_model import CE, X, Y, losses_of, net, sgd, step

SOURCES = (Samples(2, per="class"), Samples(4), Samples(4, per="all"), Gaussians(3))


def memory_of(model, source=SOURCES[0], **settings):
    return ls.TaskMemory(model, method=None, replay=Replay(8, source, **settings))


def tasks_of(model, source=SOURCES[0], **settings):
    loss = CE(model(X), Y).item()
    return ReplayedTasks.of(Replay(8, source, **settings)).with_task(model, (X, Y), loss)


@pytest.mark.parametrize("source", SOURCES)
def test_the_loss_is_that_of_the_drawn_samples_by_hand(source):
    model = net()
    tasks = tasks_of(model, source)
    old = copy.deepcopy(model)
    with torch.no_grad():
        model[0].weight.add_(0.3)
    tasks = tasks.with_task(model, (X, Y), CE(model(X), Y).item())
    newest = copy.deepcopy(model)
    with torch.no_grad():
        model[2].weight.mul_(1.5)
    twin = torch.Generator()
    twin.set_state(tasks.generator.get_state())
    samples = tasks.stored.draw(8, twin)
    z, before = model(samples.inputs), newest(samples.inputs).detach()
    assert not torch.equal(before, old(samples.inputs))
    teacher = F.softmax(before / 2, dim=1)
    distillation = 4 * (teacher * (teacher.log() - F.log_softmax(z / 2, dim=1))).sum(1).mean()
    torch.testing.assert_close(tasks.loss(model), CE(z, samples.labels) + distillation)


def test_a_step_is_that_of_the_mean_over_all_tasks():
    model = net()
    memory, optimizer = memory_of(model), sgd(model)
    for name in ("one", "other"):
        memory.consolidate(CE, (X, Y), name=name)
    twin, tasks = copy.deepcopy(model), copy.deepcopy(memory._tasks.replayed)
    new = X.flip(0)
    with memory.training(optimizer):
        for _ in range(2):
            optimizer.zero_grad()
            CE(model(new), Y).backward()
            optimizer.step()
    other = sgd(twin)
    for _ in range(2):
        other.zero_grad()
        ((CE(twin(new), Y) + 2 * tasks.loss(twin)) / 3).backward()
        other.step()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_step_with_a_closure_and_one_with_accumulated_gradients_are_the_same():
    weights = []
    for kind in ("closure", "keyword", "accumulated"):
        model = net()
        memory, optimizer = memory_of(model), sgd(model)
        memory.consolidate(CE, (X, Y))

        def closure(model=model, optimizer=optimizer):
            optimizer.zero_grad()
            loss = CE(model(X), Y.flip(0))
            loss.backward()
            return loss

        with memory.training(optimizer):
            if kind == "accumulated":
                for rows in (slice(0, 6), slice(6, 12)):
                    (CE(model(X[rows]), Y.flip(0)[rows]) / 2).backward()
                optimizer.step()
            elif kind == "keyword":
                optimizer.step(closure=closure)
            else:
                optimizer.step(closure)
        weights.append(memory.space.flatten(model))
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)
    torch.testing.assert_close(weights[0], weights[2])


def test_nothing_is_replayed_in_the_first_task_or_after_the_training():
    model, plain = net(), net()
    memory, optimizer, other = memory_of(model), sgd(model), sgd(plain)
    with memory.training(optimizer):
        step(model, optimizer, 2)
    step(plain, other, 2)
    memory.consolidate(CE, (X, Y))
    step(model, optimizer)
    step(plain, other)
    assert torch.equal(memory.space.flatten(model), memory.space.flatten(plain))


def test_weights_of_other_optimisers_and_unused_ones_keep_their_gradients():
    model = net()
    memory = memory_of(model)
    memory.consolidate(CE, (X, Y))
    memory_first = ls.TaskMemory(model, "0.*", method=None, replay=8)
    memory_first.consolidate(CE, (X, Y))
    unused = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([*model[0].parameters(), unused], lr=0.1)
    CE(model(X), Y).backward()
    unused.grad = torch.ones(1)
    before = model[2].weight.grad.clone()
    with memory_first.training(optimizer):
        optimizer.step()
    assert torch.equal(model[2].weight.grad, before)
    assert unused.grad.item() == 0.5  # its loss counts as one of two


def test_neither_the_model_nor_the_random_state_changes_by_replay():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3)).train()
    memory, state = memory_of(model), torch.get_rng_state()
    kept = copy.deepcopy(model.state_dict())
    memory.consolidate(CE, (X, Y))
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    memory._tasks.replayed.loss(model)
    assert torch.equal(torch.get_rng_state(), state)


def test_classes_that_were_not_learnt_are_not_distilled():
    model = net()
    seen = Y < 2
    tasks = ReplayedTasks.of(Replay(8)).with_task(model, (X[seen], Y[seen]), CE(model(X[seen]), Y[seen]).item())
    with torch.no_grad():
        model[2].bias[2] -= 50.0  # the third class has not been learnt: its output may move as the new task wants
    twin = torch.Generator()
    twin.set_state(tasks.generator.get_state())
    samples = tasks.stored.draw(8, twin)
    assert int(samples.labels.max()) == 1
    torch.testing.assert_close(tasks.loss(model), CE(model(samples.inputs), samples.labels))


def test_a_model_may_gain_outputs():
    model = net()
    tasks = tasks_of(model)
    wider = copy.deepcopy(model)
    wider[2] = nn.Linear(5, 4)
    wider[2].weight.data[:3], wider[2].bias.data[:3] = model[2].weight.data, model[2].bias.data
    wider[2].bias.data[3] = -1e4  # it answers nothing, so that the loss stays as it was
    expected = copy.deepcopy(tasks).loss(model)
    torch.testing.assert_close(tasks.loss(wider), expected)
    with pytest.raises(InputError, match="the number of outputs, 2"):
        tasks.loss(nn.Linear(4, 2))
    few = ReplayedTasks.of(Replay(8)).with_task(model, (X[Y == 0], Y[Y == 0]), CE(model(X[Y == 0]), Y[Y == 0]).item())
    with pytest.raises(InputError, match="the 3 outputs that it had"):
        few.loss(nn.Linear(4, 2))


@pytest.mark.parametrize("source", SOURCES)
def test_a_loaded_memory_goes_on_with_the_same_draws(source, tmp_path):
    model = net()
    memory = memory_of(model, source, seed=3)
    memory.consolidate(CE, (X, Y))
    memory._tasks.replayed.loss(model)
    torch.save(memory.state_dict(), tmp_path / "memory.pt")
    other = memory_of(copy.deepcopy(model), source, seed=3)
    other.load_state_dict(torch.load(tmp_path / "memory.pt"))
    assert other.n_stored == memory.n_stored
    for each in (memory, other):
        with torch.no_grad():
            each.model[0].weight.add_(0.1)
    first, second = ([each._tasks.replayed.loss(each.model).item() for _ in range(2)] for each in (memory, other))
    assert first == second
    for each in (memory, other):
        each.consolidate(CE, (X + 1, Y))
    first, second = (each._tasks.replayed.loss(each.model).item() for each in (memory, other))
    assert first == second


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing():
    memory = memory_of(net())
    memory.consolidate(CE, (X, Y))
    state = memory.state_dict()
    other = ls.TaskMemory(net(), method=None, replay=8)
    with pytest.raises(StorageError, match="replay"):
        other.load_state_dict(state)
    wider = net()
    wider.extra = nn.Linear(3, 3)
    other = ls.TaskMemory(wider, ["0.*", "2.*"], method=None, replay=Replay(8, SOURCES[0]))
    with pytest.raises(StorageError, match="of this model"):
        other.load_state_dict(state)
    assert other.n_tasks == 0
    with pytest.raises(StorageError, match="damaged state"):
        memory._tasks.replayed.loaded({"before": None, "n_tasks": 1}, memory.model)


def test_numbers_stored_for_eight_digits_by_gaussians_of_rank_ten():
    model = nn.Sequential(nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 50), nn.ReLU(), nn.Linear(50, 10))
    tasks, dim = ReplayedTasks.of(Replay(source=Gaussians(10))), sum(p.numel() for p in model.parameters())
    for task in range(4):
        x, y = torch.rand(24, 784), 2 * task + torch.arange(24) % 2
        tasks = tasks.with_task(model, (x, y), CE(model(x), y).item())
    by_hand = 8 * ((1 + 10 + 1) * 784 + 10 + 1) + dim  # mean, directions, variances; scales, label; the old network
    assert tasks.n_stored == by_hand
    assert tasks.n_stored / dim == pytest.approx(2.8, abs=0.05)


def test_without_distillation_no_network_is_stored():
    tasks = tasks_of(net(), Samples(5), distillation=0.0)
    assert tasks.n_stored == 5 * 4 + 5
    assert tasks.before is None
    memory = memory_of(net(), Samples(5), distillation=0.0)
    memory.consolidate(CE, (X, Y))
    assert memory.n_stored == tasks.n_stored


def test_a_loss_that_is_not_the_cross_entropy_of_the_labels_is_said():
    model = nn.Linear(4, 6)
    some = lambda z, y: CE(z[:, 3:], y)  # noqa: E731
    with pytest.warns(UserWarning, match="over some outputs alone"):
        ls.keep(model, some, (X, Y), method="l2", strength=1.0, replay=8)
    ls.keep(net(), losses=losses_of, data=[(X, Y)], method="l2", strength=1.0, replay=8)


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
def test_batches_of_a_generator_are_read_once_and_mappings_and_averaged_weights_are_taken():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = net()

        def forward(self, x):
            return {"logits": self.body(x)}["logits"]

    model, average = Named(), copy.deepcopy(Named())
    memory = memory_of(model, Samples(12))
    batches = ({"x": X[rows], "labels": Y[rows]} for rows in (slice(0, 5), slice(5, 12)))
    with torch.no_grad():
        average.body[2].bias.add_(1.0)
    memory.consolidate(CE, batches, w0=average)
    tasks = memory._tasks.replayed
    assert len(tasks.stored.samples.labels) == 12
    assert torch.equal(tasks.before.body[2].bias, average.body[2].bias)


def test_a_budget_measures_on_samples_that_are_not_learnt_again():
    model = net()
    memory = ls.keep(model, CE, (X, Y), replay=Replay(8, Samples(20)), budget=0.2, samples=4)
    held_out, replayed = memory._tasks.replayed.held_out, memory._tasks.replayed.stored.samples
    assert (len(held_out.labels), len(replayed.labels)) == (4, 8)
    rows = torch.cat([held_out.inputs, replayed.inputs])
    assert len(rows.unique(dim=0)) == 12
    optimizer = sgd(model)
    start = CE(net()(held_out.inputs), held_out.labels).item()
    with memory.training(optimizer):
        step(model, optimizer, 20)
    expected = math.log(CE(model(held_out.inputs), held_out.labels).item() / start)
    assert memory.rise.measured == pytest.approx(expected, rel=1e-3, abs=1e-6)
    other = ls.TaskMemory(copy.deepcopy(model), replay=Replay(8, Samples(20)))
    other.load_state_dict(memory.state_dict())  # without a warning: the state has the samples
    optimizer = sgd(other.model)
    with other.training(optimizer):
        step(other.model, optimizer)
    assert other.rise.measured is not None
    other.consolidate(CE, (X, Y))
    assert len(other._tasks.replayed.held_out.labels) == 8


@pytest.mark.parametrize("source", [Samples(20), Gaussians(2)])
def test_replay_keeps_the_first_task(source):
    draw = torch.Generator().manual_seed(0)
    centres = 3 * torch.eye(4) + 2  # what all classes share is what the second task moves
    data = []
    for first in (0, 2):
        labels = first + torch.arange(60) % 2
        data.append((centres[labels] + 0.3 * torch.randn(60, 4, generator=draw), labels))
    errors = {}
    for replay in (None, Replay(50, source)):
        torch.manual_seed(0)
        model = nn.Linear(4, 4)
        memory, optimizer = ls.TaskMemory(model, method="l2", strength=0.0, replay=replay), sgd(model, lr=0.2)
        for x, labels in data:
            with memory.training(optimizer):
                for _ in range(60):
                    optimizer.zero_grad()
                    CE(model(x), labels).backward()
                    optimizer.step()
            memory.consolidate(CE, (x, labels))
        errors[replay is not None] = [(model(x).argmax(1) != labels).double().mean().item() for x, labels in data]
    assert errors[False][0] > 0.5
    assert max(errors[True]) < 0.05
