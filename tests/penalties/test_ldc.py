"""Landscape-dependent constraints against Eq. 14, and the flatness from the variance."""

import math

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.reproduction.experiment.networks import mlp
from landscope.synthetic import InverseGaussian


def window(rows=40, dim=12):
    return ls.principal_modes(ls.Trajectory.of(torch.randn(rows, dim).double() * torch.logspace(0, -2, dim).double()))


def test_the_constraint_is_equation_14_with_a_floor():
    modes = window()
    F = torch.logspace(-1, 1, 12).double()
    w1, w = modes.mean + 0.1, torch.randn(12).double()
    q = modes.directions @ (w - w1)
    expected = sum(float(q[i]) ** 2 / float(F[i]) ** 2 for i in range(5))
    paper = ls.penalties.landscape_dependent_constraint(w1, modes, F, n_modes=5, floor="none", strength=10.0)
    assert float(paper(w)) == pytest.approx(10 * expected, rel=1e-9)
    floored = ls.penalties.landscape_dependent_constraint(w1, modes, F, n_modes=5)
    rest = float((w - w1).square().sum() - q[:5].square().sum())
    assert float(floored(w)) == pytest.approx(4 * (expected + rest / float(F[4]) ** 2), rel=1e-9)
    assert floored.n_stored == 6 * 12 + 5


def test_the_default_strength_makes_the_penalty_the_rise_of_the_log_loss_of_a_well():
    curvature = torch.logspace(2, 0, 4).double()
    well = InverseGaussian(curvature)
    F = ls.flatness(well, torch.zeros(4).double(), torch.eye(4).double(), rtol=1e-9)
    modes = ls.principal_modes(ls.Trajectory.of(torch.randn(30, 4).double() * torch.tensor([4.0, 3.0, 2.0, 1.0])))
    modes = ls.directions.Directions(
        name="axes", directions=torch.eye(4).double(), values=modes.values, residuals=torch.zeros(4).double(),
        mean=modes.mean, total=1.0, n_steps=30,
    )  # fmt: skip
    penalty = ls.penalties.landscape_dependent_constraint(torch.zeros(4).double(), modes, F)
    w = torch.randn(4).double() * 0.1
    assert float(penalty(w)) == pytest.approx(math.log(float(well(w) / well(torch.zeros(4).double()))), rel=1e-6)


def test_a_mode_without_a_flatness_is_left_to_the_floor():
    modes = window()
    F = torch.tensor([1.0, math.nan, 2.0, math.nan])
    penalty = ls.penalties.landscape_dependent_constraint(modes.mean, modes, F)
    assert len(penalty.stiffness) == 2
    assert penalty.floor == 0.25
    along = float(penalty(modes.mean + modes.directions[1]))
    assert along == pytest.approx(4 * 0.25, rel=1e-9)


def test_flatness_from_variance_inverts_the_law_and_takes_its_scale_from_what_was_measured():
    variance = torch.logspace(0, -6, 30).double()
    F = 0.7 * variance ** (-1 / 4.0)
    found = ls.penalties.flatness_from_variance(variance, 4.0, F[[1, 9, 25]], ranks=[2, 10, 26])
    assert torch.allclose(found, F, rtol=1e-12)
    with_a_gap = ls.penalties.flatness_from_variance(
        variance, 4.0, torch.tensor([math.nan, float(F[9])]), ranks=[2, 10]
    )
    assert torch.allclose(with_a_gap, F, rtol=1e-6)


def test_the_penalty_is_zero_and_flat_at_its_anchor_and_knows_its_parameters():
    model = mlp([4, 3, 3, 2], seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ls.TrajectoryRecorder(model, optimizer, "2.weight") as recorder:
        for _ in range(20):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(torch.randn(8, 4)), torch.randint(2, (8,))).backward()
            optimizer.step()
    modes = ls.principal_modes(recorder.trajectory(), 3)
    w1 = recorder.trajectory().row(-1)
    penalty = ls.penalties.landscape_dependent_constraint(w1, modes, torch.ones(3))
    assert penalty.parameters == ("2.weight",)
    assert penalty.anchor.dtype == torch.float32
    assert float(penalty(w1)) == 0
    assert not bool(penalty.gradient(w1).any())
