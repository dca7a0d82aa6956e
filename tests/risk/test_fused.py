"""Activations of transformers in pure Python become one operation with the same values and derivatives."""

import torch
from torch import nn
from transformers.activations import NewGELUActivation

from landscope.risk.fused import fuse_activations


def derivatives(function, x):
    """Value and three derivatives at each point."""
    found = [function(x)]
    for _ in range(3):
        found.append(torch.autograd.grad(found[-1].sum(), x, create_graph=True)[0])
    return found


def test_the_values_and_derivatives_are_the_same():
    model = nn.Sequential(nn.Linear(2, 2), NewGELUActivation())
    fuse_activations(model)
    assert type(model[1]) is nn.GELU
    x = torch.linspace(-3, 3, 101, dtype=torch.float64, requires_grad=True)
    for found, expected in zip(derivatives(model[1], x), derivatives(NewGELUActivation(), x), strict=True):
        # Some 20 roundings of terms below 10, of which each derivative cancels a part.
        assert torch.allclose(found, expected, rtol=0, atol=200 * torch.finfo(x.dtype).eps)


def test_an_activation_that_somebody_watches_or_replaced_stays():
    hooked, replaced = NewGELUActivation(), NewGELUActivation()
    hooked.register_forward_hook(lambda *_: None)
    replaced.forward = lambda x: x
    model = nn.Sequential(hooked, replaced, nn.GELU())
    fuse_activations(model)
    assert list(model)[:2] == [hooked, replaced]
