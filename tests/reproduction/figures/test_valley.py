"""Flatness over norm, and the count of sharp directions, do not depend on the scale of a layer."""

import math

import pytest
import torch

import landscope as ls
from landscope.reproduction.experiment.networks import mlp
from landscope.reproduction.figures.valley import measure_valley


def rescaled(model, factors):
    """The same function: units of the first hidden layer times factors, what reads them divided by these."""
    twin = mlp([64, 20, 20, 10])
    twin.load_state_dict(model.state_dict())
    with torch.no_grad():
        twin[2].weight *= factors[:, None]
        twin[4].weight /= factors[None, :]
    return twin


def test_relative_flatness_does_not_see_the_scale_of_a_layer(trained_digits):
    """F of the weights between the hidden layers grows with their scale, F over their norm does not; with a factor of
    its own for each unit it does: what stays the same is the function, not its geometry."""
    model, data = trained_digits
    space = ls.ParameterSpace.of(model, "2.weight")

    def valley(of):
        risk = ls.EmpiricalRisk(of, torch.nn.functional.cross_entropy, data, space=space)
        return measure_valley(risk, 5), risk

    own, risk = valley(model)
    scaled, other = valley(rescaled(model, torch.full((20,), 3.0)))
    assert float(other(other.w0)) == pytest.approx(float(risk(risk.w0)), rel=1e-5)
    assert float((scaled.width / own.width).nanmedian()) == pytest.approx(3.0, rel=2e-2)
    assert scaled.relative_flatness == pytest.approx(own.relative_flatness, rel=2e-2)
    uneven, _ = valley(rescaled(model, torch.logspace(-1, 1, 20)))
    assert abs(math.log(uneven.relative_flatness / own.relative_flatness)) > 0.1


def test_the_count_of_sharp_directions_does_not_see_it_either(trained_digits):
    model, data = trained_digits
    space, directions = ls.ParameterSpace.of(model, "2.weight"), torch.linalg.qr(torch.randn(400, 400)).Q[:60]
    counts, raw = [], []
    for factor in (1.0, 3.0):
        risk = ls.EmpiricalRisk(
            rescaled(model, torch.full((20,), factor)), torch.nn.functional.cross_entropy, data, space=space
        )
        found = ls.flatness(risk, risk.w0, directions)
        threshold = 0.5 * float(risk.w0.norm())
        counts.append(ls.landscape.sharp_dimension(found, threshold))
        raw.append(ls.landscape.sharp_dimension(found, 0.5 * float(risk.w0.norm()) / factor))
    assert counts[0] == counts[1] > 0
    assert raw[0] != raw[1]
