"""Warnings name the line of the user's program, from wherever in the library they come."""

import warnings

import pytest
import torch
from torch import nn

import landscope as ls
from blobs import network, sgd, task


def of_a_sum(model):
    ls.EmpiricalRisk(model, nn.CrossEntropyLoss(reduction="sum"), task(0))


def of_a_kept_sum(model):
    ls.keep(model, nn.CrossEntropyLoss(reduction="sum"), task(0))


def of_a_recording_without_a_step(model):
    with ls.TrajectoryRecorder(model, sgd(model)):
        pass


def of_frozen_weights(model):
    optimizer = sgd(model)
    ls.TrajectoryRecorder(model.requires_grad_(False), optimizer, select="0.weight").close()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (of_a_sum, "reduction='sum'"), (of_a_kept_sum, "reduction='sum'"),
        (of_a_recording_without_a_step, "No optimiser step was recorded"), (of_frozen_weights, "requires a gradient"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("in_half", [False, True])
def test_a_warning_names_the_line_of_the_user(call, words, in_half):
    with warnings.catch_warnings(record=True) as told, torch.autocast("cpu", torch.bfloat16, enabled=in_half):
        warnings.simplefilter("always")
        call(network())
    assert [one.filename for one in told if words in str(one.message)] == [__file__]
