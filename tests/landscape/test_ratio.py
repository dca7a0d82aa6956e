"""Flatness at any ratio of losses, wherever flatness is used, against F = 2 sqrt(2 (r - 1) L0/H) of a parabola."""

import math

import pytest
import torch

import landscope as ls
from landscope.landscape import flatness_until_flat
from landscope.law import InverseRelation, measure_exponents
from landscope.penalties import landscape_dependent_constraint
from landscope.synthetic import InverseGaussian, QuadraticBowl, random_walk, sgd_in_bowl

RATIOS = (1.1, 2.0, math.e, 10.0)
CURVATURE = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0]).double()
L0 = 0.5


def expected(ratio):
    return [2 * math.sqrt(2 * (ratio - 1) * L0 / h) for h in CURVATURE.tolist()]


def bowl():
    return QuadraticBowl(CURVATURE, minimum=L0)


def recorded():
    """A run about (5, ..., 5), so that the reach of a search, ten times the norm of w0, holds every crossing."""
    return ls.Trajectory.of(5 + sgd_in_bowl(CURVATURE, 60, learning_rate=0.01, noise_variance=1e-2, seed=0))


def away(w):
    return bowl()(w - 5)


@pytest.mark.parametrize("ratio", RATIOS)
def test_widths_of_a_parabola(ratio):
    w0, axes = torch.zeros(6).double(), torch.eye(6).double()
    found = ls.flatness(bowl(), w0, axes, ratio=ratio, rtol=1e-6)
    assert found.width.tolist() == pytest.approx(expected(ratio), rel=2e-6)
    until = flatness_until_flat(bowl(), w0, axes, 1e9, ratio=ratio, rtol=1e-6)
    assert until.width.tolist() == pytest.approx(expected(ratio), rel=2e-6)
    assert until.ratio == ratio


@pytest.mark.parametrize("ratio", RATIOS)
def test_the_rows_of_a_comparison_are_measured_at_one_ratio(ratio):
    """Off the minimum by delta_i along axis i: F_i = 2 sqrt(delta_i^2 + 2 (r - 1) L(w0)/H_i)."""
    run = recorded()
    w0 = run.row(-1)
    delta = w0 - 5
    loss = L0 + float((CURVATURE * delta.square()).sum()) / 2
    widths = 2 * (delta.square() + 2 * (ratio - 1) * loss / CURVATURE).sqrt()
    axes = ls.directions.Directions.of(torch.eye(6).double())
    row = measure_exponents("axes", away, w0, run, directions=axes, fit_modes=(1, 6), ratio=ratio, rtol=1e-6)
    assert row.width.tolist() == pytest.approx(widths.tolist(), rel=2e-6)
    window, fresh = run.part(slice(30, 60)), run.part(slice(0, 30))
    relation = InverseRelation(away, window, fresh, (1, 6), ratio=ratio, rtol=1e-6)
    modes = ls.principal_modes(window)
    own = ls.flatness(away, w0, modes.directions, ratio=ratio, rtol=1e-6).width
    assert relation.in_sample().width.tolist() == pytest.approx(own.tolist(), rel=1e-6)
    assert relation.fresh().width.tolist() == pytest.approx(own.tolist(), rel=1e-6)
    assert relation.null(seed=0).width.tolist() != relation.in_sample().width.tolist()


def test_a_penalty_does_not_depend_on_the_ratio_where_the_log_loss_is_quadratic():
    """F_r = sqrt(8 ln r/M), so that the stiffness F^-2 at e is M/8 whatever ratio was measured."""
    well, w1 = InverseGaussian(CURVATURE, minimum=1e-3), torch.zeros(6).double()
    modes = ls.principal_modes(ls.Trajectory.of(random_walk(50, 6, seed=0).double()))
    stiffness = [
        landscape_dependent_constraint(
            w1, modes, ls.flatness(well, w1, modes.directions.double(), ratio=ratio, rtol=1e-6)
        ).stiffness
        for ratio in RATIOS
    ]
    rayleigh = (modes.directions.double().square() @ CURVATURE) / 8
    for found in stiffness:
        assert found.tolist() == pytest.approx(rayleigh.tolist(), rel=1e-5)
