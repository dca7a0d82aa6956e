"""The slow, obvious twins: full forward passes in float64, one point at a time."""

import copy
import math

import pytest
import torch
from scipy.optimize import brentq
from torch import nn

import landscope as ls

RTOL = 1e-6
"""Of float32 losses of single samples, summed in float64."""


def naive_loss(model, inputs, targets, space, w, criterion=nn.functional.cross_entropy):
    """The mean loss in float64 with the selected weights set to w."""
    twin = copy.deepcopy(model).double().eval()
    parameters = dict(twin.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, value in space.unflatten(w.double()).items():
            parameters[name].copy_(value)
        x = inputs.double() if inputs.is_floating_point() else inputs
        y = targets.double() if targets.is_floating_point() else targets
        return float(criterion(twin(x), y))


def naive_side(loss, reach, ratio=math.e):
    """The nearest crossing of loss(d) = ratio loss(0) for d > 0: a fine scan, then Brent's method."""
    level = math.log(loss(0.0)) + math.log(ratio)
    previous, steps = 0.0, 400
    for step in range(1, steps + 1):
        d = reach * step / steps
        if math.log(loss(d)) >= level:
            return brentq(lambda d: math.log(loss(d)) - level, previous, d, xtol=1e-12, rtol=1e-12)
        previous = d
    return math.nan


def vectors(n=200):
    """Random inputs of six numbers, with three classes."""
    return torch.randn(n, 6), torch.randint(0, 3, (n,))


def assert_lines_agree(model, data, risk, directions, steps):
    """The losses along lines are those of the naive twin."""
    found = ls.loss_profiles(risk, risk.w0, directions, steps).loss
    for direction, row in zip(directions, found, strict=True):
        for step, loss in zip(steps, row, strict=True):
            exact = naive_loss(model, *data, risk.space, risk.w0.double() + step.double() * direction.double())
            assert float(loss) == pytest.approx(exact, rel=2 * RTOL)


def points(risk):
    """The weights of a risk, and two points away from them."""
    direction = torch.randn(risk.space.dim, generator=torch.Generator().manual_seed(2))
    return [risk.w0 + step * direction for step in (0.0, 0.3, -1.0)]


def slow_loss(model, batches, loss_of):
    """The loss of a copy with its weights set, batch after batch: no cut, no stored values."""

    def loss(space, w):
        twin = copy.deepcopy(model).eval()
        with torch.no_grad():
            for name, value in space.unflatten(w).items():
                dict(twin.named_parameters(remove_duplicate=False))[name].copy_(value)
            parts = [loss_of(twin, copy.deepcopy(batch)) for batch in batches]
        return float(sum(float(losses.double().sum()) for losses in parts) / sum(losses.numel() for losses in parts))

    return loss
