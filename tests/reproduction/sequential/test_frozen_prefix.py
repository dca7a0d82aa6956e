"""The frozen layers of a network are evaluated once, and nothing else changes."""

import copy

import pytest
import torch
from torch import nn

import landscope as ls
from clusters import DATA, PAIR, TRAINING
from landscope.reproduction.experiment.networks import mlp, mnist_cnn
from landscope.reproduction.sequential.frozen_prefix import FrozenPrefix
from landscope.reproduction.sequential.preparation import unchanged
from landscope.reproduction.sequential.task_data import class_tasks
from landscope.reproduction.sequential.trainer import task_errors


@pytest.mark.parametrize(("model", "select", "shape"), [
    (lambda: mlp([16, 5, 4, 3], bias=True), "2.*", (16,)), (lambda: mnist_cnn((1, 4, 4), 3), "3.weight", (1, 4, 4)),
    (lambda: mlp([16, 5, 3]), None, (16,)),
])  # fmt: skip
def test_the_free_part_on_features_is_the_network(model, select, shape):
    network = model()
    x = torch.randn(7, *shape)
    before = network(x)
    prefix = FrozenPrefix(network, select, probe=x[:2])
    assert torch.equal(prefix.part(prefix.features(x)), before)
    names = ls.ParameterSpace.of(prefix.part).names
    assert {name for name, p in network.named_parameters() if p.requires_grad} == set(names)
    with torch.no_grad():
        dict(prefix.part.named_parameters())[names[0]].add_(1.0)
    assert torch.allclose(prefix.part(prefix.features(x)), network(x), atol=1e-6), "one and the same weights"


class Dropping(nn.Module):
    """Drops hidden units by a function, which tracing records as it was called."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(8, 12), nn.Linear(12, 12), nn.Linear(12, 6)

    def forward(self, x):
        x = nn.functional.dropout(torch.relu(self.first(x)), 0.5, self.training)
        return self.last(torch.relu(self.second(x)))


def test_a_network_that_tracing_would_change_stays_whole():
    network = Dropping().train()
    x = torch.randn(5, 8)
    prefix = FrozenPrefix(network, "second.*", probe=x)
    assert prefix.part is network
    assert torch.equal(prefix.features(x), x)


def test_frozen_batch_normalisation_keeps_its_statistics_and_free_one_is_put_back():
    def network():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 12), nn.BatchNorm1d(12),
                             nn.ReLU(), nn.Linear(12, 6))  # fmt: skip

    tasks = class_tasks(DATA, DATA, PAIR)
    for select, same in (("3.weight", True), (["3.weight", "4.*"], False)):
        model = network()
        TRAINING.until_learnt(model, DATA, TRAINING.optimizer(model), 0)
        before = copy.deepcopy(model.state_dict())
        prefix = FrozenPrefix(model, select, probe=tasks[0].test[0][:3])
        part, features = prefix.part, [prefix.task(task) for task in tasks]
        space = ls.ParameterSpace.of(part)
        start, errors = space.flatten(part), task_errors(part, features, TRAINING)

        def learn(part=part, features=features):
            TRAINING.until_learnt(part, features[1].train, TRAINING.optimizer(part), 0)

        with unchanged(part):
            learn()
        assert torch.equal(space.flatten(part), start)
        assert torch.equal(task_errors(part, features, TRAINING), errors), "each trial starts from one network"
        learn()
        kept = all(torch.equal(model.state_dict()[name], before[name]) for name in before if "running" in name)
        assert kept is same
