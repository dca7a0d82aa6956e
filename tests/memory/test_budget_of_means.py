"""Schedule-free optimisers move other weights than the ones that a user evaluates: a budget holds for the latter."""

import math

import pytest
import torch
from torch import nn

import landscope as ls
from blobs import CRITERION, accuracy, learn, network, sgd, task
from landscope.step_size import MovedWeights
from optimizers import AdamWScheduleFree


def loss_of_first(model):
    x, y = task(0)
    return nn.functional.cross_entropy(model(x), y).item()


def test_the_bound_holds_for_the_weights_in_evaluation():
    model = network()
    learn(model, sgd(model), task(0), 150, torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = loss_of_first(model)
    memory = ls.TaskMemory(model, method="l2", strength=1.0)  # its value says nothing about the loss
    memory.budget(0.5, absolute=0.0, samples=loss_of_first, every=2)
    memory.consolidate(CRITERION, task(0))
    optimizer = AdamWScheduleFree(model.parameters(), lr=0.02)
    with memory.training(optimizer):
        learn(model, optimizer, task(1), 100, torch.Generator().manual_seed(2))
    optimizer.eval()
    with torch.no_grad():
        rise = math.log(loss_of_first(model) / before)
    assert rise == pytest.approx(memory.rise.measured, abs=1e-4)
    assert 0.2 * memory.rise.allowed < rise <= memory.rise.allowed + 1e-4  # rounding of the means
    assert accuracy(model, task(0)) > 0.9


@pytest.mark.parametrize("trains", [True, False])
def test_evaluated_weights_are_those_of_the_optimiser_and_can_be_set(trains):
    weight = nn.Parameter(torch.tensor([1.0, -2.0]).double())
    optimizer = AdamWScheduleFree([weight], lr=0.1)
    for _ in range(5):
        weight.grad = torch.tensor([1.0, -0.3]).double()
        optimizer.step()
    if not trains:
        optimizer.eval()
        optimizer.param_groups[0]["train_mode"] = False  # as the package notes it
    moved = MovedWeights(optimizer, [weight])
    means, z = moved.evaluated(), moved.flat()
    target = torch.tensor([0.5, 0.25]).double()
    moved.set_evaluated(target)
    assert torch.allclose(moved.evaluated(), target, rtol=1e-12)
    assert torch.allclose(moved.flat() - z, target - means, rtol=1e-12)
    if trains:
        optimizer.eval()
    assert torch.allclose(weight, target, rtol=1e-12)
