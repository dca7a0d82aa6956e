"""A risk that was made before the end of the training is not what a task ends with."""

import copy

import pytest
import torch
from torch import nn

import landscope as ls
from blobs import CRITERION, learn, network, sgd, task
from landscope.errors import InputError


def trained(dtype=torch.float32, **options):
    """A memory after a training, its model, and the risk that was made before it."""
    model = network().to(dtype)
    memory, optimizer = ls.TaskMemory(model, method="l2", strength=1.0, **options), sgd(model)
    before = ls.EmpiricalRisk(model, CRITERION, of_dtype(dtype), space=memory.space)
    with memory.training(optimizer):
        learn(model, optimizer, of_dtype(dtype), 5, torch.Generator().manual_seed(0))
    return memory, model, before


def of_dtype(dtype):
    inputs, targets = task(0)
    return inputs.to(dtype), targets


def test_a_risk_from_before_the_training_is_refused_and_nothing_changes():
    memory, model, before = trained()
    with pytest.raises(InputError, match=r"where the training of the task ended.*Make it after the training.*w0="):
        memory.consolidate_at(before)
    assert (memory.held, memory.n_tasks) == (None, 0)
    memory.consolidate_at(ls.EmpiricalRisk(model, CRITERION, task(0), space=memory.space))
    assert torch.equal(memory.held.anchor, nn.utils.parameters_to_vector(model.parameters()).detach())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_risk_in_the_precision_of_the_model_is_at_its_weights(dtype):
    memory, model, before = trained(dtype)
    with pytest.raises(InputError, match="a risk at other weights"):
        memory.consolidate_at(before)
    memory.consolidate_at(ls.EmpiricalRisk(model, CRITERION, of_dtype(dtype), space=memory.space))
    assert memory.n_tasks == 1


def test_a_risk_at_the_last_recorded_weights_holds_them_where_the_model_moved_on():
    model = network()
    memory, optimizer = ls.TaskMemory(model, n_modes=2, method="ldc"), sgd(model)
    with memory.training(optimizer):
        learn(model, optimizer, task(0), 20, torch.Generator().manual_seed(0))
    risk, end = ls.EmpiricalRisk(model, CRITERION, task(0)), copy.deepcopy(memory.space.flatten(model))
    with torch.no_grad():
        model[2].bias.add_(1e-3)
    memory.consolidate_at(risk)
    assert torch.equal(memory.held.anchor, end)
