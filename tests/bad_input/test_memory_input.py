"""What is no memory, optimiser or criterion at all, in a run without type checks."""

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError, StorageError


def test_wrong_kinds_are_named():
    model = nn.Linear(3, 2)
    memory = ls.TaskMemory(model)
    for state in (None, []):
        with pytest.raises(StorageError, match="the state of a TaskMemory, of format 1; got"):
            memory.load_state_dict(state)
    with pytest.raises(InputError, match="optimizer of type Optimizer"), memory.training("adam"):
        pass
    data = (torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))
    for criterion in ("cross_entropy", nn.CrossEntropyLoss):
        with pytest.raises(InputError, match="a criterion, called with outputs and targets"):
            ls.EmpiricalRisk(model, criterion, data)
