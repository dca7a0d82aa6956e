"""Snapshots of a finished task."""

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError
from landscope.memory.methods.snapshot import TaskSnapshot


def test_the_width_does_not_depend_on_the_ratio_where_ln_l_is_quadratic():
    """L = exp(2 w^2) of a model of one weight: F at e is sqrt(2), at any ratio after rescaling."""

    class Bowl(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def forward(self, x):
            return (2 * self.w.square()).exp() * x

    model = Bowl()
    path = ls.Trajectory.of(torch.randn(20, 1, dtype=torch.float64), space=ls.ParameterSpace.of(model))
    data = (torch.ones(4, 1, dtype=torch.float64), torch.zeros(4, 1, dtype=torch.float64))
    risk = ls.EmpiricalRisk(model, lambda outputs, _: outputs.flatten(), data)
    for ratio in (1.01, 1.1, 2.718281828):
        finished = TaskSnapshot(risk, path, ratio=ratio)
        assert float(finished.widths(1)) == pytest.approx(2**0.5, rel=3e-3), ratio
    with pytest.raises(InputError, match="a ratio above 1"):
        ls.TaskMemory(model, ratio=1.0, method="ldc")
