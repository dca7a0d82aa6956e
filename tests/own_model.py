"""A small model of a user, its data and its loss, for tests of natural slips."""

import torch
from torch import nn
from torch.nn import functional as F

import landscope as ls

X, Y = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
CE, MSE = nn.CrossEntropyLoss(), nn.MSELoss()
ONE_HOT = F.one_hot(Y, 3)


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def of(criterion=CE, data=(X, Y), model=None, **options):
    return ls.EmpiricalRisk(net() if model is None else model, criterion, data, **options)


def of_closure(function, data=((X, Y),), model=None, **options):
    return ls.EmpiricalRisk.from_closure(net() if model is None else model, function, data, **options)


def losses_of(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1], reduction="none")


def sgd(model, lr=0.1):
    return torch.optim.SGD(model.parameters(), lr=lr)


def step(model, optimizer, times=1):
    for _ in range(times):
        optimizer.zero_grad()
        CE(model(X), Y).backward()
        optimizer.step()


def recorded(change, model=None):
    """Record two steps with a change between them."""
    model = net() if model is None else model
    optimizer = sgd(model)
    with ls.TrajectoryRecorder(model, optimizer) as recorder:
        step(model, optimizer)
        change(model, optimizer, recorder)
    return recorder.trajectory()
