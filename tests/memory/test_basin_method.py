"""The default method: the curvature of ln L over the basin, one product a layer for all tasks."""

import pytest
import torch
from torch import nn

import landscope as ls
from blobs import CRITERION, accuracy, learn, network, sgd, task
from landscope.errors import InputError
from landscope.memory import Basin
from landscope.penalties import basin_penalty, nearest_kronecker_penalty
from landscope.penalties.compression.moved import moved_penalty


def through(memory, model, n_tasks):
    optimizer, generator = sgd(model), torch.Generator().manual_seed(1)
    for number in range(n_tasks):
        with memory.training(optimizer):
            learn(model, optimizer, task(number), 150, generator)
        memory.consolidate(CRITERION, task(number))


def test_the_default_keeps_a_task_that_is_lost_without_it():
    kept, lost = network(), network()
    memory = ls.TaskMemory(kept)
    assert (memory.method, memory.strength) == (Basin(), 1.0)
    through(memory, kept, 2)
    through(ls.TaskMemory(lost, strength=0.0), lost, 2)
    first = accuracy(lost, task(0))
    assert first < accuracy(kept, task(0))
    assert accuracy(kept, task(0)) > 0.9


def test_no_recording_is_needed_and_the_options_reach_the_penalty():
    model = network()
    memory = ls.TaskMemory(model, method=Basin(n_points=3, n_samples=50, seed=7), strength=2.0, ratio=1.5)
    held = memory.consolidate(CRITERION, task(0))
    risk = ls.EmpiricalRisk(model, CRITERION, task(0))
    expected = basin_penalty(risk, risk.w0, n_points=3, n_samples=50, seed=7, ratio=1.5, strength=2.0)
    w = risk.w0 + 0.1 * torch.randn(risk.space.dim, generator=torch.Generator().manual_seed(0))
    assert torch.equal(held(w), expected(w))
    assert memory.state_dict()["rows"] is None


def test_all_tasks_store_one_product_a_layer_about_the_latest_weights():
    model, ends = network(), []
    memory, optimizer, generator = ls.TaskMemory(model), sgd(model), torch.Generator().manual_seed(1)
    for number in range(2):
        with memory.training(optimizer):
            learn(model, optimizer, task(number), 30, generator)
        held = memory.consolidate(CRITERION, task(number))
        ends.append((memory.n_stored, held, memory.space.flatten(model)))
    (stored, first, _), (again, both, w1) = ends
    assert again == stored
    assert float(both(w1)) == 0.0
    risk = ls.EmpiricalRisk(model, CRITERION, task(1))
    latest = basin_penalty(risk, w1)
    for part, old, new in zip(both.parts, moved_penalty(first, w1).parts, latest.parts, strict=True):
        nearest = nearest_kronecker_penalty(old.part, new.part)
        assert torch.allclose(part.part.outputs, nearest.outputs, rtol=1e-5)
        assert torch.allclose(part.part.inputs, nearest.inputs, rtol=1e-5)


def test_a_state_goes_on_where_it_was():
    model = network()
    memory = ls.TaskMemory(model)
    through(memory, model, 1)
    again = ls.TaskMemory(model)
    again.load_state_dict(memory.state_dict())
    w = memory.space.flatten(model) + 0.1
    assert torch.equal(again.held(w), memory.held(w))
    with pytest.raises(InputError, match="n_points"):
        Basin(n_points=0)


def test_every_kind_of_layer_is_held():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Embedding(6, 4), nn.Flatten(), nn.Linear(8, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 3)
    )
    memory = ls.TaskMemory(model)
    x = torch.randint(6, (40, 2))
    held = memory.consolidate(CRITERION, (x, x.sum(dim=1) % 3))
    z = torch.randn(memory.space.dim)
    pushed = held.gradient(memory.space.flatten(model) + z)
    for name in memory.space.names:
        assert float(pushed[memory.space.columns([name])].abs().max()) > 0, name
