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


def between(first, second):
    return ls.landscape.loss_between(BOWL, first, second)


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
        (lambda: between(W0, nn.Linear(1, 1)), r"the second solution as a tensor w\[N\]; got Linear"),
        (lambda: between(torch.zeros(1, 2), W0), r"the first solution as a tensor w\[N\]; got shape \(1, 2\)"),
        (lambda: between(W0, torch.zeros(3)), "second"),
        (lambda: ls.landscape.align_units(nn.Linear(2, 1), nn.Linear(2, 1).state_dict()), "the reference"),
        (lambda: ls.directions.filter_normalised(torch.ones(1, 2), W0, nn.Linear(1, 1)), "the space"),
        (lambda: ls.loss_plane(BOWL, W0, torch.eye(2), trajectory=torch.ones(2, 2)), "a Trajectory; got an object"),
    ],
)  # fmt: skip
def test_a_slip_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
