"""Natural slips with checkpoints on disk, metrics and averaged weights are named, with the way on."""

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError
from landscope.synthetic import QuadraticBowl

BOWL, W0, STEPS = QuadraticBowl(torch.tensor([2.0, 8.0]), minimum=1.0), torch.zeros(2), torch.tensor([1.0])
rows_of = ls.Trajectory.from_checkpoints


def profiles(metrics):
    return ls.loss_profiles(BOWL, W0, torch.eye(2), STEPS, metrics=metrics)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rows_of(7, nn.Linear(1, 1)), "a folder, a list of checkpoints, or"),
        (lambda: rows_of({1: 7}, nn.Linear(1, 1)), "a state dict, or the path of one, of row 1; got int"),
        (lambda: rows_of({"1": {}}, nn.Linear(1, 1)), "the step of a checkpoint to be an integer"),
        (lambda: rows_of([{}], [nn.Linear(1, 1)], steps=[1]), "the model"),
        (lambda: profiles([len]), "metrics as functions by name; got list"),
        (lambda: profiles({"a": 3}), "the metric a as a function; got int"),
        (lambda: profiles({"a": lambda w: w}), r"tensor of shape \(2,\)"),
        (lambda: ls.loss_plane(BOWL, W0, torch.eye(2), [0.0, 1.0], STEPS), "first as a tensor of displacements"),
        (lambda: ls.loss_plane(BOWL, W0, torch.eye(2), STEPS, torch.ones(1, 1)), r"second .* got shape \(1, 1\)"),
        (lambda: ls.loss_plane(nn.Linear(1, 1), W0, torch.eye(2), STEPS, STEPS), "a landscape, a function of weights"),
    ],
)  # fmt: skip
def test_a_slip_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
