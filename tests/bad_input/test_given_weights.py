"""Weights that are given as w0, and are not those of the model."""

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError, NonFiniteError
from landscope.trajectory.checkpoints import load_weights


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        (torch.zeros(5), InputError, r"a vector of the 8 weights of weight, bias for w0; got a tensor of \(5,\)"),
        (torch.zeros(2, 3), InputError, r"a vector of the 8 weights .* got a tensor of \(2, 3\)"),
        (torch.zeros(1, 8), InputError, r"a vector of the 8 weights"),
        (torch.zeros(8, dtype=torch.int64), InputError, "a floating-point dtype"),
        (torch.full((8,), torch.nan), NonFiniteError, "the vector for w0"),
        ({"weight": torch.zeros(2, 3)}, InputError, "a checkpoint of this model for w0"),
        (8, InputError, "a state dict, or the path of one"),
    ],
)
def test_other_weights_are_refused(given, kind, message):
    model = nn.Linear(3, 2)
    before = [tensor.clone() for tensor in model.parameters()]
    with pytest.raises(kind, match=message):
        load_weights(given, model, ls.ParameterSpace.of(model), " for w0")
    assert isinstance(given, dict) or all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
