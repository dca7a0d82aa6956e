"""Barriers between two solutions."""

import pytest
import torch

from landscope.landscape.barrier import log_barrier


def test_a_barrier_between_two_wells():
    def wells(w):
        x = w[..., 0]
        return torch.exp((x.square() - 1).square())

    assert log_barrier(wells, torch.tensor([-1.0]), torch.tensor([1.0])) == pytest.approx(1.0, rel=1e-6)
    assert log_barrier(wells, torch.tensor([0.5]), torch.tensor([1.0])) == 0.0
