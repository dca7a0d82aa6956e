"""The separable model: its closed form where all modes relax alike, its test, and the flag."""

import math

import pytest
import torch

import landscope as ls
from landscope.errors import InputError
from landscope.noise.held_out import cosine_amplitudes
from landscope.noise.separable import (
    mode_overlaps,
    population_variances,
    separability,
    separable_variances,
    temporal_spectrum,
)
from landscope.synthetic import autoregressive

STIFF = torch.logspace(0, -2, 100).double()


def window_of(coefficient, variance, rows, seed=0):
    path = autoregressive(coefficient, rows, seed=seed, noise_variance=variance * (1 - coefficient.square()))
    window = ls.Trajectory.of(path)
    modes = ls.principal_modes(window)
    return modes, cosine_amplitudes(modes.project_trajectory(window)[:, : modes.n_moving])


def spectrum_of(coefficient, rows):
    """Eigenvalues of the correlation of a centred AR(1) window, scaled to the sum T."""
    lag = torch.arange(rows).double()
    correlation = coefficient ** (lag[:, None] - lag).abs()
    centred = correlation - correlation.mean(0) - correlation.mean(1)[:, None] + correlation.mean()
    values = torch.linalg.eigvalsh(centred).flip(0)[: rows - 1]
    return values * (rows / values.sum())


def test_white_rows_follow_ledoit_and_peche():
    modes, _ = window_of(torch.zeros(100).double(), STIFF**1.9, 400)
    values, rows, bandwidth = modes.variance, 400, 0.1
    found = separable_variances(values, torch.ones(rows - 1).double(), 60, bandwidth)
    # With a_f = 1 for (T - 1)/T of the rows the equation is linear in e/(1 + e): e = s/(c - s), c = (T - 1)/T.
    share = (rows - 1) / rows
    for mode, centre in enumerate(values[:60].tolist()):

        def weight(z):
            s = (values / (values - z)).sum() / rows
            return z * (s / (share - s)), s

        # The kernel x/[(x - l)^2 + eta^2]^2 is a derivative in eta of Im z e and Im z g, here by differences.
        eta, step = bandwidth * centre, 1e-4 * bandwidth * centre
        up, here, down = (weight(complex(centre, eta + change)) for change in (step, 0, -step))
        own, every = (here[part].imag - eta * (up[part].imag - down[part].imag) / (2 * step) for part in (0, 1))
        # Central differences: an error of (step/eta)^2 = 1e-8 of the third derivative.
        assert float(found[mode]) == pytest.approx(float(own / every), rel=1e-5)


@pytest.mark.parametrize("coefficient", [0.0, 0.8])
def test_true_variances_are_recovered(coefficient):
    ratios = []
    for seed in range(3):
        alike = torch.full((100,), coefficient).double()
        modes, amplitudes = window_of(alike, STIFF**1.9, 400, seed)
        temporal = temporal_spectrum(amplitudes)
        exact = spectrum_of(coefficient, 400)
        # A measured eigenvalue is a mean over f/2 frequencies, each of some 50 directions with a ridge.
        torch.testing.assert_close(temporal[40:], exact[40:], rtol=0.25, atol=0.0)
        lost = (1 + coefficient) / ((1 - coefficient) * 400)
        true = modes.directions.square() @ (STIFF**1.9 * (1 - lost))
        ratios.append((separable_variances(modes.variance, temporal, 100) / true).log())
    every = torch.stack(ratios)
    # One mode scatters by sqrt(2/T_eff), T_eff = T (1 - a^2)/(1 + a^2): 0.07 and 0.15; the bandwidth adds h^2.
    scatter = math.sqrt(2 / (400 * (1 - coefficient**2) / (1 + coefficient**2)))
    assert abs(float(every.mean())) < 0.09 + scatter / 3
    assert float(every.std()) < 0.09 + 2 * scatter


def test_eigenvalues_of_the_mean_are_refused():
    with pytest.raises(InputError, match="positive temporal eigenvalues"):
        separable_variances(torch.ones(3).double(), torch.tensor([1.0, 0.0]).double(), 3)


@pytest.mark.parametrize("coefficient", [0.0, 0.8])
def test_a_separable_window_is_rejected_as_often_as_stated(coefficient):
    alike = torch.full((40,), coefficient).double()
    path = [autoregressive(alike, 200, seed=seed, noise_variance=STIFF[:40]) for seed in range(60)]
    rejected = sum(not separability(cosine_amplitudes(rows), level=0.1).holds for rows in path)
    # Binomial(60, 0.1) exceeds 15 with a probability below 0.001.
    assert rejected <= 15
    assert all(math.isfinite(separability(cosine_amplitudes(rows)).contrast) for rows in path[:3])


@pytest.mark.parametrize(("slow", "named"), [(0, "large"), (-1, "small")])
def test_unlike_relaxation_is_rejected_and_said(slow, named):
    coefficient = torch.linspace(0.95, 0.2, 40) if slow == 0 else torch.linspace(0.2, 0.95, 40)
    variance = torch.logspace(0, -1, 40).double()
    rows = autoregressive(coefficient, 600, seed=0, noise_variance=variance * (1 - coefficient.double() ** 2))
    found = separability(cosine_amplitudes(rows))
    assert not found.holds
    assert f"those of {named} variance are slower" in found.reason


def test_a_short_window_is_not_tested():
    found = separability(cosine_amplitudes(torch.randn(40, 3, generator=torch.Generator().manual_seed(0))))
    assert math.isnan(found.p_value)
    assert not found.holds
    assert "too short" in found.reason


@pytest.mark.parametrize(("coefficient", "dim", "rows"), [(0.0, 100, 400), (0.8, 100, 400), (0.0, 120, 80)])
def test_overlaps_with_the_population_are_those_of_simulated_windows(coefficient, dim, rows):
    """Squares of the modes of windows of a diagonal population, averaged over neighbours by the same weights."""
    population, count, bandwidth, seeds = torch.logspace(0, -3.8, dim).double(), 20, 0.3, 6
    missed, like = [], []
    for seed in range(seeds):
        alike = torch.full((dim,), coefficient).double()
        path = autoregressive(alike, rows, seed=seed, noise_variance=population * (1 - alike.square()))
        modes = ls.principal_modes(ls.Trajectory.of(path))
        values = modes.variance[: modes.n_moving]
        said = mode_overlaps(values, spectrum_of(coefficient, rows), population, count, bandwidth)
        assert bool(((said.sum(dim=1) - 1).abs() < 1e-9).all())
        centre = values[:count, None]
        weight = values / ((values - centre).square() + (bandwidth * centre).square()).square()
        found = (weight @ modes.directions[: modes.n_moving].double().square()) / weight.sum(dim=1, keepdim=True)
        near = (population / centre).log().abs() <= math.log(2)
        missed.append(((said - found) * near).sum(dim=1).mean())
        like.append((found * near).sum(dim=1).mean())
    missed = torch.stack(missed)
    # Four standard errors, and the correction of finite size, 1/T_eff with T_eff = T (1 - a^2)/(1 + a^2).
    size = (1 + coefficient**2) / ((1 - coefficient**2) * min(rows, dim))
    assert abs(float(missed.mean())) < 4 * float(missed.std()) / math.sqrt(seeds) + size
    assert 0.3 < float(torch.stack(like).mean()) < 0.95  # neither the population's modes nor any


def test_the_population_is_found_from_a_window_of_many_rows():
    population = torch.logspace(0, -2, 40).double()
    ratios = []
    for seed in range(4):
        path = autoregressive(torch.zeros(40).double(), 400, seed=seed, noise_variance=population)
        values = ls.principal_modes(ls.Trajectory.of(path)).variance
        ratios.append((population_variances(values, spectrum_of(0.0, 400), 30) / population[:30]).log())
    # A mean over four windows of 400 rows and some three neighbours: sqrt(2/4800) = 0.02; the window averages over
    # h = 0.3 on either side of a falling spectrum, which is h^2 = 0.09 of its slope.
    assert float(torch.stack(ratios).mean(dim=0).abs().median()) < 4 * 0.02 + 0.09
