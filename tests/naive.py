"""The slow, obvious twins: full forward passes in float64, one point at a time."""

import copy
import math

import torch
from scipy.optimize import brentq
from torch import nn


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
