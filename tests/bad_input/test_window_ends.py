"""Ends of windows that are no step numbers, and those that are in another type."""

import pytest
import torch

import landscope as ls
from landscope.errors import InputError


def test_ends_of_windows_are_step_numbers():
    path = ls.Trajectory.of(torch.zeros(3, 1), steps=torch.tensor([0, 1, 2]))
    for start in (1.5, float("nan"), "last"):
        with pytest.raises(InputError, match=f"start as a step number; got {start!r}"):
            path.window(start)
    assert path.window(1.0, torch.tensor(2)).steps.tolist() == [1]
