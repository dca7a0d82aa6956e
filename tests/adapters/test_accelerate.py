"""The lines of a training loop with accelerate: its optimizer is a wrapper that calls no step hooks."""

import json

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import landscope as ls
from small_study import evaluate

accelerate = pytest.importorskip("accelerate")
CRITERION = torch.nn.CrossEntropyLoss()


def prepared(accumulated=1):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    inputs = torch.randn(80, 4)
    loader = DataLoader(TensorDataset(inputs, (inputs[:, 0] > 0).long()), batch_size=8)
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=accumulated)
    return accelerator, *accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1), loader)


def train(accelerator, model, optimizer, loader):
    taken = []
    for x, y in loader:
        with accelerator.accumulate(model):
            optimizer.zero_grad()
            accelerator.backward(CRITERION(model(x), y))
            optimizer.step()
        taken.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    return torch.stack(taken)


@pytest.mark.parametrize("accumulated", [1, 2])
def test_every_step_that_is_taken_is_recorded(accumulated):
    accelerator, model, optimizer, loader = prepared(accumulated)
    with ls.TrajectoryRecorder(model, optimizer) as recorder:
        taken = train(accelerator, model, optimizer, loader)
    assert torch.equal(recorder.trajectory().weights, taken[accumulated - 1 :: accumulated])


def test_a_study_and_a_memory_take_its_optimizer(tmp_path):
    accelerator, model, optimizer, loader = prepared()
    study = ls.Study(tmp_path / "study", model, CRITERION, loader, evaluate=evaluate)
    with study.record(optimizer):
        train(accelerator, model, optimizer, loader)
    assert study.trajectory.weights.shape == (10, 58)
    assert json.loads((tmp_path / "study" / "training.json").read_text())["optimizer"] == "SGD"
    memory = ls.TaskMemory(model, method="l2", strength=1.0)
    memory.consolidate(CRITERION, loader)
    with memory.training(optimizer):
        train(accelerator, model, optimizer, loader)
    assert memory.penalty().item() > 0
