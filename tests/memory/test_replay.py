import copy
import types

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from landscope.errors import InputError, StorageError
from landscope.memory import Replay
from own_model import CE, X, Y, net, sgd

STORES = ("class", "task", "reservoir", "gaussians")


def consolidated(store="class", model=None, **settings):
    replay = Replay(net() if model is None else model, store=store, **{"n_samples": 2, "batch_size": 8, **settings})
    replay.consolidate((X, Y))
    return replay


def test_there_is_no_loss_before_the_first_task():
    replay = Replay(net())
    assert (replay.loss().item(), replay.n_stored, replay.n_tasks) == (0.0, 0, 0)
    assert replay.mixed(torch.tensor(7.0)).item() == 7.0


@pytest.mark.parametrize("store", STORES)
def test_the_loss_is_that_of_the_drawn_samples_by_hand(store):
    replay = consolidated(store)
    old = copy.deepcopy(replay.model)
    with torch.no_grad():
        replay.model[0].weight.add_(0.3)
    replay.consolidate((X, Y))
    newest = copy.deepcopy(replay.model)
    with torch.no_grad():
        replay.model[2].weight.mul_(1.5)
    twin, state = torch.Generator(), replay._generator.get_state()
    twin.set_state(state)
    inputs, labels, _ = replay._samples.draw(8, twin)
    z, before = replay.model(inputs), newest(inputs).detach()
    assert not torch.equal(before, old(inputs))
    teacher = F.softmax(before / 2, dim=1)
    distillation = 4 * (teacher * (teacher.log() - F.log_softmax(z / 2, dim=1))).sum(1).mean()
    expected = CE(z, labels) + distillation
    torch.testing.assert_close(replay.loss(), expected)
    replay._generator.set_state(copy.deepcopy(state))
    torch.testing.assert_close(replay.mixed(torch.tensor(7.0)), (7 + 2 * expected) / 3)  # two earlier tasks


def test_the_gradient_is_that_of_the_model_alone():
    replay = consolidated(distillation=0.5)
    replay.model.train()
    replay.loss().backward()
    assert all(tensor.grad is not None for tensor in replay.model.parameters())
    assert all(tensor.grad is None for tensor in replay._before.parameters())


def test_consolidating_changes_neither_the_model_nor_the_random_state():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).train()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    replay = consolidated(model=model)
    replay.loss(copy.deepcopy(model))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), state)


def test_classes_that_were_not_learnt_are_not_distilled():
    model = net()
    replay = Replay(model, batch_size=8)
    seen = Y < 2
    replay.consolidate((X[seen], Y[seen]))
    with torch.no_grad():
        model[2].bias[2] -= 50.0  # the third class has not been learnt: its output may move as the new task wants
    inputs, labels, _ = replay._samples.draw(8, torch.Generator().manual_seed(0))
    assert int(labels.max()) == 1
    expected = CE(model(inputs), labels)
    replay._generator.manual_seed(0)
    torch.testing.assert_close(replay.loss(), expected)


def test_tasks_with_outputs_of_their_own():
    model = nn.Linear(4, 6)
    replay = Replay(model, batch_size=8, distillation=0.0)
    labels = (X[:, 0] > 0).long()
    replay.consolidate((X, labels), outputs=(0, 1))
    replay.consolidate((X, labels), outputs=(4, 2))
    twin = torch.Generator()
    twin.set_state(replay._generator.get_state())
    inputs, columns, task = replay._samples.draw(8, twin)
    assert 0 < int(task.sum()) < 8
    expected = 0.0
    for x, column, number in zip(inputs, columns.tolist(), task.tolist(), strict=True):
        outputs = ((0, 1), (4, 2))[number]
        expected += CE(model(x)[list(outputs)], torch.tensor(outputs.index(column))).item() / 8
    assert replay.loss().item() == pytest.approx(expected, rel=1e-5)


def test_a_model_may_gain_outputs():
    model = net()
    replay = consolidated(model=model)
    wider = copy.deepcopy(model)
    wider[2] = nn.Linear(5, 4)
    wider[2].weight.data[:3], wider[2].bias.data[:3] = model[2].weight.data, model[2].bias.data
    wider[2].bias.data[3] = -1e4  # it answers nothing, so that the loss stays as it was
    expected = copy.deepcopy(replay).loss()
    torch.testing.assert_close(replay.loss(wider), expected)
    with pytest.raises(InputError, match="the 3 outputs that it had"):
        replay.loss(nn.Linear(4, 2))


@pytest.mark.parametrize("store", STORES)
def test_a_saved_replay_goes_on_with_the_same_draws(store, tmp_path):
    replay = consolidated(store, seed=3)
    replay.loss()
    torch.save(replay.state_dict(), tmp_path / "replay.pt")
    other = Replay(copy.deepcopy(replay.model), store=store, n_samples=2, batch_size=8)
    with torch.no_grad():
        for model in (replay.model, other.model):
            model[0].weight.add_(0.1)
    other.load_state_dict(torch.load(tmp_path / "replay.pt"))
    assert other.n_stored == replay.n_stored
    assert [other.loss().item() for _ in range(2)] == [replay.loss().item() for _ in range(2)]
    for each in (replay, other):
        each.consolidate((X + 1, Y))
    assert other.loss().item() == replay.loss().item()


def test_an_empty_replay_is_saved_and_loaded():
    other = Replay(net(), seed=9)
    other.load_state_dict(Replay(net(), seed=1).state_dict())
    assert (other.n_tasks, other.loss().item()) == (0, 0.0)


def test_a_state_that_does_not_fit_is_refused():
    state = consolidated().state_dict()
    changed = {**state, "outputs": [(0,)]}
    for given, model, message in (
        ({}, net(), "format 1"),
        (changed, net(), "changed since"),
        (state, nn.Linear(4, 3), "of this model"),
    ):
        replay = Replay(model, n_samples=2, batch_size=8)
        with pytest.raises(StorageError, match=message):
            replay.load_state_dict(given)
        assert replay.n_tasks == 0
    with pytest.raises(StorageError, match="n_samples 3"):
        Replay(net(), n_samples=3, batch_size=8).load_state_dict(state)


def test_the_draws_depend_on_the_seed():
    first, again, other = (consolidated(seed=seed).loss().item() for seed in (0, 0, 1))
    assert first == again != other


def test_numbers_stored_for_eight_digits_by_gaussians_of_rank_ten():
    model = nn.Sequential(nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 50), nn.ReLU(), nn.Linear(50, 10))
    replay, dim = Replay(model, store="gaussians", rank=10), sum(p.numel() for p in model.parameters())
    for task in range(4):
        replay.consolidate((torch.rand(24, 784), 2 * task + torch.arange(24) % 2))
    by_hand = 8 * ((1 + 10 + 1) * 784 + 10 + 1) + dim  # mean, directions, variances; scales, label; the old network
    assert replay.n_stored == by_hand
    assert replay.n_stored / dim == pytest.approx(2.8, abs=0.05)


def test_outputs_with_logits_and_batches_of_a_loader():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = net()

        def forward(self, x):
            return types.SimpleNamespace(logits=self.body(x))

    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), 5)
    replay = Replay(Wrapped(), n_samples=2, batch_size=8)
    replay.consolidate(loader)
    assert replay.loss().item() == consolidated().loss().item()  # batches in order are the same samples


@pytest.mark.parametrize("store", ["class", "gaussians"])
def test_replay_keeps_the_first_task(store):
    draw = torch.Generator().manual_seed(0)
    centres = 3 * torch.eye(4) + 2  # what all classes share is what the second task moves
    data = []
    for first in (0, 2):
        labels = first + torch.arange(60) % 2
        data.append((centres[labels] + 0.3 * torch.randn(60, 4, generator=draw), labels))
    errors = {}
    for with_replay in (False, True):
        torch.manual_seed(0)
        model = nn.Linear(4, 4)
        replay, optimizer = Replay(model, store=store, rank=2), sgd(model, lr=0.2)
        for x, labels in data:
            for _ in range(60):
                optimizer.zero_grad()
                loss = CE(model(x), labels)
                (replay.mixed(loss) if with_replay else loss).backward()
                optimizer.step()
            replay.consolidate((x, labels))
        errors[with_replay] = [(model(x).argmax(1) != labels).double().mean().item() for x, labels in data]
    assert errors[False][0] > 0.5
    assert max(errors[True]) < 0.05
