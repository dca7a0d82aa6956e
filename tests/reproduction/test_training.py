import copy
import itertools

import pytest
import torch
from torch import nn

from landscope.reproduction.experiment import training
from landscope.reproduction.experiment.datasets.loading import load_data
from landscope.reproduction.experiment.networks import mlp
from landscope.reproduction.experiment.training import evaluate, train
from landscope.sampling import MinibatchOrder


def epochs(model, optimizer, order, data, count, first=1):
    return list(
        itertools.islice(train(model, nn.functional.cross_entropy, data, optimizer, order, first_epoch=first), count)
    )


def test_the_loop_is_plain_sgd(digits):
    inputs, targets = digits
    ours, plain = mlp([64, 6, 10], seed=1), mlp([64, 6, 10], seed=1)
    order = MinibatchOrder(len(targets), 100, "reshuffled", 3)
    found = epochs(ours, torch.optim.SGD(ours.parameters(), lr=0.1), order, digits, 2)
    losses = []
    for number in range(2):
        for batch in order.epoch(number):
            loss = nn.functional.cross_entropy(plain(inputs[batch]), targets[batch])
            losses.append(float(loss.detach()))
            gradients = torch.autograd.grad(loss, list(plain.parameters()))
            with torch.no_grad():
                for parameter, gradient in zip(plain.parameters(), gradients, strict=True):
                    parameter -= 0.1 * gradient
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    assert torch.allclose(torch.cat([epoch.losses for epoch in found]), torch.tensor(losses).double(), atol=1e-6)
    assert [epoch.step for epoch in found] == [15, 30]


def test_going_on_gives_the_same_bits(digits):
    order = MinibatchOrder(1500, 50, "reshuffled", 3)
    whole, parts = mlp([64, 6, 10], seed=1), mlp([64, 6, 10], seed=1)
    epochs(whole, torch.optim.SGD(whole.parameters(), lr=0.1, momentum=0.9), order, digits, 4)
    optimizer = torch.optim.SGD(parts.parameters(), lr=0.1, momentum=0.9)
    epochs(parts, optimizer, order, digits, 2)
    revived, again = mlp([64, 6, 10]), copy.deepcopy(optimizer.state_dict())
    revived.load_state_dict(parts.state_dict())
    other = torch.optim.SGD(revived.parameters(), lr=0.1, momentum=0.9)
    other.load_state_dict(again)
    epochs(revived, other, order, digits, 2, first=3)
    for a, b in zip(whole.parameters(), revived.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("sampling", ["reshuffled", "shuffled-once", "fixed", "with-replacement"])
def test_minibatch_orders(sampling):
    order = MinibatchOrder(103, 10, sampling, 5)
    first, second = order.epoch(0), order.epoch(1)
    assert first.shape == (10, 10)
    assert torch.equal(first, MinibatchOrder(103, 10, sampling, 5).epoch(0))
    if sampling == "with-replacement":
        assert len(first.unique()) < 100
    else:
        assert len(first.unique()) == 100
    assert torch.equal(first, second) == (sampling in ("shuffled-once", "fixed"))
    assert torch.equal(first.flatten(), torch.arange(100)) == (sampling == "fixed")
    if sampling != "fixed":
        assert not torch.equal(first, MinibatchOrder(103, 10, sampling, 6).epoch(0))


def test_evaluate_counts_in_parts_and_restores_the_mode(monkeypatch):
    monkeypatch.setattr(training, "_SAMPLES_PER_CALL", 2)
    model = nn.Sequential(nn.Identity(), nn.Dropout(0.5)).train()
    logits = torch.tensor([[3.0, 0.0], [0.0, 1.0], [5.0, 1.0]])
    loss, error = evaluate(model, (logits, torch.tensor([0, 1, 1])))
    assert model.training
    assert error == pytest.approx(1 / 3)
    assert loss == pytest.approx(float(nn.functional.cross_entropy(logits, torch.tensor([0, 1, 1]))))


def test_digits_are_whole_and_scaled():
    data = load_data("digits")
    assert (len(data.train_labels), len(data.test_labels)) == (1500, 297)
    assert data.train_inputs.min() == 0
    assert data.train_inputs.max() == 1
    assert sorted(data.train_labels.unique().tolist()) == list(range(10))


def test_a_seed_decides_the_weights_and_leaves_the_global_random_state_alone():
    state = torch.get_rng_state()
    a, b, c = mlp([4, 3, 2], seed=1), mlp([4, 3, 2], seed=1), mlp([4, 3, 2], seed=2)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(a[0].weight, b[0].weight)
    assert not torch.equal(a[0].weight, c[0].weight)
