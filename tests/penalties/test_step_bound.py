"""Rounding of a penalty never drives a weight away that an adaptive optimiser has seen no gradient of."""

import math

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.penalties import QuadraticPenalty
from landscope.penalties.step_bound import largest_step_size


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_bound_is_that_of_the_stiffest_direction(dtype):
    stiffness = torch.tensor([0.1, 3.0, 1.0], dtype=dtype)
    penalty = QuadraticPenalty(anchor=torch.zeros(3, dtype=dtype), stiffness=stiffness)
    bound = largest_step_size(penalty, torch.zeros(3, dtype=dtype))
    assert bound == pytest.approx(1 / (64 * torch.finfo(dtype).eps * 2 * float(stiffness.max())), rel=1e-3)  # H = 2 k


def test_a_penalty_that_holds_nothing_has_no_bound():
    nothing = QuadraticPenalty(anchor=torch.zeros(2), stiffness=torch.zeros(2))
    assert largest_step_size(nothing, torch.zeros(2)) == math.inf


def test_units_without_a_gradient_stay_where_they_are_under_adam():
    """Their step size is lr over 1e-8; rounding of the factors alone drove them to 1e9."""
    torch.manual_seed(0)
    model, criterion = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)), nn.CrossEntropyLoss()
    x = torch.randn(400, 8)
    old, new = (x, x[:, :3].argmax(1)), (x + 3, x[:, 3:6].argmax(1))

    def learn(data, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            criterion(model(data[0]), data[1]).backward()
            optimizer.step()

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    learn(old, 200)
    memory, optimizer = ls.keep(model, criterion, old), torch.optim.Adam(model.parameters(), lr=1e-2)
    with memory.training(optimizer):
        learn(new, 150)
    assert max(float(p.detach().abs().max()) for p in model.parameters()) < 5
    assert criterion(model(old[0]), old[1]).item() < 0.5
    assert memory.held(memory.space.flatten(model)).item() >= 0
