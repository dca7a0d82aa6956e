"""Processes of one distributed training measure other numbers, and take the same weights."""

import contextlib
import math
import os

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import landscope as ls
from blobs import CRITERION, learn, network, sgd, task
from landscope.memory import Budget
from landscope.memory.methods.registry import METHODS
from landscope.memory.strength.output_change import OutputChange
from landscope.penalties import distance_penalty
from landscope.processes import means_over_processes
from processes import N_PROCESSES, in_processes


@contextlib.contextmanager
def at(model, w):
    model.weight.data.copy_(w.view_as(model.weight))
    yield model


def gone_back(rank):
    """Where a budget of 0.5 lets the weight go from 0 to 1, of tasks a: 1 + s w^2 and b: 2 with s = 9 or 1."""
    model, stiffness = nn.Linear(1, 1, bias=False), (9.0, 1.0)[rank]
    nn.init.zeros_(model.weight)

    def measure(m):
        losses = {"a": 1 + stiffness * m.weight.detach().square().sum(), "b": 2.0}
        return losses if rank else dict(reversed(losses.items()))

    budget = Budget(0.5, absolute=0.0, measure=measure, every=1)
    budget.start(model, torch.zeros(1), loss1=2.0)
    w = budget.follow(0.1, torch.ones(1), lambda w: at(model, w))
    return w.item(), budget.factor, budget.spent().by_task


def output_ratio(rank):
    """The change of the outputs w1 w2 x from (1, 1) to (2, 2) is 3 x, and 2 x to first order, of other x."""

    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

        def forward(self, x):
            return x * self.weight.prod() if rank else x * self.weight.sum()

    model = Product()
    change = OutputChange(model, every=1)
    with change.watching(distance_penalty(torch.ones(2))):
        model(torch.full((1, 1), 1.0 + rank))
        change.follow(0.0, torch.full((2,), 2.0), lambda w: at(model, w))
    return change.factor


def risen(rank):
    """The rise at the end of a training, and at other weights as the first process asks alone; what both should be."""
    torch.set_num_threads(1)
    model, (x, y) = network(), task(0)
    learn(model, sgd(model), task(0), 100, torch.Generator().manual_seed(1))
    memory, optimizer = ls.keep(model, CRITERION, (x, y), budget=0.2, samples=10_000), sgd(model)
    before = loss_on(model, (x, y))
    with memory.training(optimizer):
        learn(model, optimizer, task(1), 11, torch.Generator().manual_seed(2))
    ended, wanted = memory.rise.measured, math.log(loss_on(model, (x, y)) / before)
    with torch.no_grad():
        model[0].weight.mul_(1.2)
    asked = memory.rise.measured if rank == 0 else None
    return ended, wanted, asked, math.log(loss_on(model, (x, y)) / before)


def loss_on(model, data):
    with torch.no_grad():
        return CRITERION(model(data[0]), data[1]).item()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_a_rise_is_that_of_all_samples_also_where_one_process_asks_alone(tmp_path):
    (ended, wanted, asked, then), (also, _, _, _) = in_processes(risen, tmp_path)
    assert ended == also == pytest.approx(wanted, abs=1e-5)
    assert asked == pytest.approx(then, abs=1e-5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_all_processes_take_the_same_way_back_and_the_same_strength(tmp_path):
    found = in_processes(lambda rank: (gone_back(rank), output_ratio(rank)), tmp_path)
    assert found[0] == found[1]
    (w, _, by_task), ratio = found[0]
    assert w == 20 / 64  # the mean 1 + 5 w^2 may be 1.5, at sqrt(0.1) = 20.2 / 64; six halvings
    assert by_task.keys() == {"a", "b"}
    assert by_task["b"] == 0
    # One process has changes of 2 x and 2 x with x = 1, the other of 3 x and 2 x with x = 2.
    assert ratio == pytest.approx((2**2 + 6**2) / (2**2 + 4**2), rel=0.05)


def two_tasks(method, sharded):
    """Weights after two tasks, of a model that processes train together, each on samples of its own."""

    def of_rank(rank):
        torch.manual_seed(0)
        torch.set_num_threads(1)
        net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        model = nn.parallel.DistributedDataParallel(net)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        memory = ls.TaskMemory(net, method=method, strength=0.1, n_modes=4, window=20)
        generator = torch.Generator().manual_seed(1)
        for name in ("first", "second"):
            data = TensorDataset(torch.randn(80, 6, generator=generator), torch.randint(3, (80,), generator=generator))
            loader = DataLoader(data, 8, sampler=DistributedSampler(data, N_PROCESSES, rank))
            with memory.training(optimizer):
                for _ in range(6):
                    for inputs, labels in loader:
                        optimizer.zero_grad()
                        nn.functional.cross_entropy(model(inputs), labels).backward()
                        optimizer.step()
            own = loader if sharded else [data[rank * 40 : rank * 40 + 40]]
            memory.consolidate(nn.functional.cross_entropy, own, name=name)
        return nn.utils.parameters_to_vector(net.parameters()).detach()

    return of_rank


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", sorted(METHODS))
def test_processes_with_samples_of_their_own_end_with_the_same_bits(method, tmp_path):
    first, second = in_processes(two_tasks(method, sharded=True), tmp_path)
    assert torch.equal(first, second)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
@pytest.mark.filterwarnings("ignore")
def test_other_data_in_each_process_are_refused_in_all(tmp_path, capfd):
    with pytest.raises(AssertionError):
        in_processes(two_tasks("ewc", sharded=False), tmp_path)
    assert capfd.readouterr().err.count("Expected the same loss of the finished task in all processes") == 2


def test_one_process_has_its_own_numbers():
    assert means_over_processes([0.1, 3.0], torch.device("cpu")) == [0.1, 3.0]
