"""Penalties layer by layer, and of many tasks."""

import dataclasses

import pytest
import torch
from torch import nn

import landscope as ls
from blobs import CRITERION, accuracy, learn, network, sgd, task
from landscope.errors import InputError
from landscope.memory import LDC
from landscope.memory.methods.accumulate import task_penalty
from landscope.memory.methods.snapshot import TaskSnapshot


@pytest.mark.parametrize("method", [LDC(), LDC(factored=True)])
def test_the_layerwise_penalty_is_the_sum_of_the_penalties_of_each_layer(method):
    """With all but one layer frozen, the modes and the loss along them are those of that layer."""
    model = network()
    memory, optimizer = ls.TaskMemory(model, method=method, n_modes=4, window=60, per_layer=True), sgd(model)
    learn(model, optimizer, task(0), 200, torch.Generator().manual_seed(4))
    with memory.training(optimizer), ls.TrajectoryRecorder(model, optimizer, last=60) as recorder:
        learn(model, optimizer, task(0), 80, torch.Generator().manual_seed(5))
    held = memory.consolidate(CRITERION, task(0))
    w = memory.space.flatten(model) + 0.1 * torch.randn(memory.space.dim, generator=torch.Generator().manual_seed(6))
    alone = []
    for layer in ("0", "2", "4"):
        space = memory.space.part(layer)
        risk = ls.EmpiricalRisk(model, CRITERION, task(0), space=space)
        finished = TaskSnapshot(risk, recorder.trajectory().of_parameters(layer))
        alone.append((task_penalty(finished, method, 4.0, 4), w[memory.space.columns(space.names)]))
    if method != LDC(factored=True):  # all layers share the floor of the stiffest
        floor = max(own.floor for own, _ in alone)
        alone = [
            (dataclasses.replace(own, floor=floor, stiffness=own.stiffness.clamp(min=floor)), v) for own, v in alone
        ]
    expected = sum(float(own(v)) for own, v in alone)
    assert float(held(w)) == pytest.approx(expected, rel=1e-3)
    slope = torch.autograd.grad(held(w.requires_grad_()), w)[0]
    assert torch.allclose(held.gradient(w.detach()), slope, rtol=1e-4, atol=1e-6)
    step = held.proximal_step(w.detach(), 0.1)
    assert torch.allclose(step + 0.1 * held.gradient(step), w.detach(), atol=1e-5)
    again = ls.penalties.load_penalty(held.state_dict())
    assert float(again(w.detach())) == float(held(w.detach()))


@pytest.mark.parametrize("per_layer", [False, True])
def test_a_task_is_preserved_with_modes_of_layers_or_of_all_weights(per_layer):
    """A direction of one layer is flat only while the others rest; with a floor of its own, accuracy falls to 70 %."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(256, 8, generator=generator)
    tasks = [(inputs, inputs[:, :3].argmax(1)), (moved := inputs + 6 * torch.eye(8)[7], moved[:, 3:6].argmax(1))]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    memory = ls.TaskMemory(model, n_modes=20, window=200, per_layer=per_layer, method="ldc")
    with memory.training(optimizer):
        learn(model, optimizer, tasks[0], 1200, generator)
    memory.consolidate(CRITERION, tasks[0])
    with memory.training(optimizer):
        learn(model, optimizer, tasks[1], 600, generator)
    assert accuracy(model, tasks[0]) > 0.9


def test_layerwise_penalties_of_many_tasks_merge_layer_by_layer():
    model = network()
    memory, optimizer = ls.TaskMemory(model, n_modes=4, rank=6, window=60, per_layer=True, method="ldc"), sgd(model)
    for number in range(3):
        with memory.training(optimizer):
            learn(model, optimizer, task(number), 80, torch.Generator().manual_seed(number))
        memory.consolidate(CRITERION, task(number))
    assert len(memory.held.parts) == 3
    assert memory.held.n_stored <= 7 * memory.space.dim + 18
    with pytest.raises(InputError, match="holds modes"):
        ls.TaskMemory(model, method="ewc", strength=1.0, per_layer=True)
