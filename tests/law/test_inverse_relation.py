"""The inverse relation three ways: in-sample, in fresh data, under its null."""

import dataclasses

import pytest
import torch

import landscope as ls
from known import flatness_of, statistics_of
from landscope.directions.ranks import log_spaced_ranks
from landscope.errors import InputError
from landscope.law.inverse_relation import InverseRelation
from landscope.synthetic import InverseGaussian, sgd_in_bowl


def test_the_relation_is_what_its_parts_are():
    curvature = torch.logspace(0, 2, 30).double()
    path = ls.Trajectory.of(sgd_in_bowl(curvature, 2000, learning_rate=0.01, noise_variance=1.0, seed=0))
    well, window, fresh = InverseGaussian(curvature), path.window(1, 1001), path.window(1001)
    relation = InverseRelation(well, window, fresh, (2, 25))
    modes = ls.principal_modes(window, 25)
    widths = ls.flatness(well, window.row(-1), modes.directions)
    law = ls.variance_flatness(modes, window, widths, (2, 25))
    assert relation.in_sample().psi == pytest.approx(law.psi, rel=1e-9)
    assert relation.fresh().psi == pytest.approx(ls.variance_flatness(modes, fresh, widths, (2, 25)).psi, rel=1e-9)
    null = ls.surrogates.shuffled_increments(window, seed=3)
    modes = ls.principal_modes(null, 25)
    widths = ls.flatness(well, window.row(-1), modes.directions)
    assert relation.null(seed=3).psi == pytest.approx(ls.variance_flatness(modes, null, widths, (2, 25)).psi, rel=1e-9)


def test_the_flatness_is_that_of_the_ratio_asked_for():
    curvature = torch.logspace(0, 2, 12).double()
    path = ls.Trajectory.of(sgd_in_bowl(curvature, 600, learning_rate=0.01, noise_variance=1.0, seed=0))
    well, window, fresh = InverseGaussian(curvature), path.window(1, 301), path.window(301)
    relation = InverseRelation(well, window, fresh, (2, 12), ratio=2.0)
    for found, rows in (
        (relation.in_sample(), window), (relation.null(seed=0), ls.surrogates.shuffled_increments(window, seed=0)),
    ):  # fmt: skip
        directions = ls.principal_modes(rows, 12).directions
        torch.testing.assert_close(found.width, ls.flatness(well, window.row(-1), directions, ratio=2.0).width)


def test_long_windows_of_many_weights_are_thinned(monkeypatch):
    """Modes from every fourth row are those of all rows here: the walk is smooth."""
    monkeypatch.setattr("landscope.law.inverse_relation._ROWS", 50)
    times = torch.linspace(0, 20, 400).double()
    shapes = torch.linalg.qr(torch.randn(60, 60).double()).Q[:3]
    rows = torch.stack([3 * torch.sin(times), 2 * torch.cos(2 * times), torch.sin(5 * times)], dim=1) @ shapes
    window, fresh = (ls.Trajectory.of(rows + 1e-6 * torch.randn_like(rows)) for _ in range(2))
    well = InverseGaussian(torch.ones(60).double())
    thinned = InverseRelation(well, window, fresh, (1, 10)).in_sample()
    monkeypatch.setattr("landscope.law.inverse_relation._ROWS", 10**6)
    whole = InverseRelation(well, window, fresh, (1, 10)).in_sample()
    assert thinned.variance[:3].tolist() == pytest.approx(whole.variance[:3].tolist(), rel=0.02)


def test_measured_modes_stand_for_those_between_them():
    """A law that bends: fitted over log-spaced modes it comes out as over all, not as a fit of equal weight to few."""
    ranks = torch.arange(1, 401)
    width = ranks.double() ** 0.5 * (1 + ranks / 200.0)
    variance = width**-3 * torch.exp(-ranks / 300.0)

    def psi(few):
        found = flatness_of(width[few - 1])
        return ls.law.fit_exponents("x", statistics_of(variance), found, (2, 400), ranks=few).psi

    exact = psi(log_spaced_ranks(400, None, 2))
    assert psi(log_spaced_ranks(400, 40, 2)) == pytest.approx(exact, abs=0.02)
    unweighted = -float(
        ls.law.fit_power_law(
            width[log_spaced_ranks(400, 40, 2) - 1], variance[log_spaced_ranks(400, 40, 2) - 1]
        ).exponent
    )
    assert abs(unweighted - exact) > 0.1


def later(window):
    return dataclasses.replace(window, steps=window.steps + len(window))


def test_a_landscape_of_another_moment_or_other_coordinates_is_refused(trained_digits):
    model, data = trained_digits
    risk = ls.EmpiricalRisk(
        model, torch.nn.functional.cross_entropy, data, space=ls.ParameterSpace.of(model, "2.weight")
    )
    rows = risk.w0 + 1e-3 * torch.randn(50, risk.space.dim).cumsum(0)
    for last in (risk.w0 + 1e-2, 2 * risk.w0):
        window = ls.Trajectory.of(torch.cat([rows, last[None]]))
        with pytest.raises(InputError, match="last row of the window"):
            InverseRelation(risk, window, later(window))
    scale = torch.full((risk.space.dim,), 2.0)
    window = ls.Trajectory.of(torch.cat([rows, risk.w0[None]]))
    InverseRelation(ls.landscape.Preconditioned(risk, scale), window.scaled(scale), later(window).scaled(scale))
    with pytest.raises(InputError, match=r"trajectory\.scaled"):
        InverseRelation(ls.landscape.Preconditioned(risk, scale), window, later(window))
