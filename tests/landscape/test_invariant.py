"""Flatness that no change of units alters."""

import copy
import math

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError
from landscope.landscape import flatness, invariant_flatness
from landscope.synthetic import InverseGaussian, QuadraticBowl

CURVATURE = torch.tensor([2.0, 8.0, 50.0], dtype=torch.float64)
AXES, ORIGIN = torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)


def test_a_bowl_and_a_gaussian_valley_have_one_invariant_width():
    rtol = 1e-6
    bowl = flatness(QuadraticBowl(CURVATURE, minimum=0.3), ORIGIN, AXES, rtol=rtol)
    found = invariant_flatness(bowl, AXES, lambda v: CURVATURE * v)
    torch.testing.assert_close(found.width, torch.full((3,), found.bowl_width).double(), rtol=2 * rtol, atol=0)
    assert found.bowl_width == pytest.approx(math.sqrt(8 * (math.e - 1) * 0.3))
    valley = flatness(InverseGaussian(CURVATURE, minimum=0.3), ORIGIN, AXES, rtol=rtol)
    found = invariant_flatness(valley, AXES, lambda v: 0.3 * CURVATURE * v)
    torch.testing.assert_close(found.width, torch.full((3,), found.gaussian_width).double(), rtol=2 * rtol, atol=0)


def test_the_length_of_a_direction_does_not_matter():
    stretched = AXES * torch.tensor([1.0, 5.0, 0.1], dtype=torch.float64)[:, None]
    one, other = (
        invariant_flatness(flatness(QuadraticBowl(CURVATURE), ORIGIN, rows, rtol=1e-6), rows, lambda v: CURVATURE * v)
        for rows in (AXES, stretched)
    )
    torch.testing.assert_close(one.width, other.width, rtol=2e-6, atol=0)


def rescaled(model, factors):
    """The same ReLU network in other units: into each hidden unit times a factor, out of it divided."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin[0].weight.mul_(factors[:, None])
        twin[0].bias.mul_(factors)
        twin[2].weight.div_(factors)
    return twin


def test_units_of_hidden_neurons_change_the_flatness_and_not_the_invariant_one():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, 4, dtype=torch.float64, generator=generator)
    labels = torch.arange(40) % 3
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    factors = torch.tensor([0.2, 0.5, 1.0, 3.0, 6.0], dtype=torch.float64)
    widths = []
    start = ls.ParameterSpace.of(model)
    rows = torch.randn(3, start.dim, dtype=torch.float64, generator=generator)
    moved = copy.deepcopy(model)
    for network, scale in ((model, torch.ones(5).double()), (rescaled(model, factors), factors)):
        risk = ls.EmpiricalRisk(network, nn.CrossEntropyLoss(), (inputs, labels))
        with torch.no_grad():  # the same lines in the other units
            directions = []
            for row in rows:
                for tensor, value in zip(start.tensors(moved), start.unflatten(row).values(), strict=True):
                    tensor.copy_(value)
                directions.append(start.flatten(rescaled(moved, scale)))
        directions = torch.stack(directions)
        directions /= directions.norm(dim=1, keepdim=True)
        plain = flatness(risk, risk.w0, directions, rtol=1e-8, ratio=1.2)
        fisher = risk.fisher_information()
        widths.append(invariant_flatness(plain, directions, lambda v, r=risk, f=fisher: f.product(r.w0, v)))
    first, second = widths
    assert bool(first.bracketed.all())
    # Two crossings of relative tolerance 1e-8 in each network.
    torch.testing.assert_close(first.width, second.width, rtol=4e-8, atol=0)
    assert bool((((first.plain_width / second.plain_width).log()).abs() > 0.1).all())


def test_a_direction_without_information_has_no_invariant_width():
    widths = flatness(QuadraticBowl(CURVATURE), ORIGIN, AXES)
    found = invariant_flatness(widths, AXES, lambda v: torch.tensor([1.0, 0.0, -1.0]).double() * v)
    assert torch.isnan(found.width).tolist() == [False, True, True]
    with pytest.raises(InputError, match="3 directions, one for each flatness"):
        invariant_flatness(widths, AXES[:2], lambda v: v)
