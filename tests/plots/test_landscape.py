"""Figures 1 and 2 show what was fitted and measured, and nothing where nothing was."""

import dataclasses

import pytest
import torch

from landscope.directions.principal import principal_modes
from landscope.landscape.flatness import flatness
from landscope.law.exponents import variance_flatness
from landscope.law.spectrum import spectrum
from landscope.noise.mode_statistics import mode_statistics
from landscope.plots import against_flatness, landscape
from landscope.synthetic import InverseGaussian, random_walk, sgd_in_bowl
from landscope.trajectory import Trajectory


@pytest.fixture(scope="module")
def twelve_decades():
    """A spectrum of exactly 3 i^-8 over 30 ranks, and ten modes after them that do not move."""
    window = Trajectory.of(random_walk(60, 40, seed=0))
    modes = principal_modes(window)
    found = spectrum(modes, window, mode_statistics(modes, window), spectrum_ranks=(10, 200))
    rank = torch.arange(1, 41, dtype=torch.float64)
    moves = rank <= 30
    variance = torch.where(moves, 3 * rank**-8, 1e-37)
    return dataclasses.replace(found, variance=variance, moves=moves, gamma=8.0)


def line_of_gamma(figure):
    return next(trace for trace in figure.data if trace.name.startswith("γ"))


def test_the_line_of_the_spectrum_is_the_fit_over_the_ranks_that_move(twelve_decades):
    line = line_of_gamma(landscape.variance_spectrum(twelve_decades, ()))
    assert list(line.x) == [10, 30]
    assert list(line.y) == pytest.approx([3 * 10.0**-8, 3 * 30.0**-8])


def test_every_mode_that_moves_is_on_the_axis_of_the_spectrum(twelve_decades):
    low, high = landscape.variance_spectrum(twelve_decades, ()).layout.yaxis.range
    shown = twelve_decades.variance[twelve_decades.moves].log10()
    assert low < float(shown.min()) < float(shown.max()) < high
    assert low > -20


def test_the_time_of_white_velocities_is_named_in_the_legend_where_no_point_hides_it():
    curvature = torch.logspace(0, 1, 8, dtype=torch.float64)
    window = Trajectory.of(sgd_in_bowl(curvature, 60, learning_rate=0.1, noise_variance=1e-4, seed=0))
    modes = principal_modes(window)
    widths = flatness(InverseGaussian(curvature), torch.zeros(8, dtype=torch.float64), modes.directions)
    found = variance_flatness(modes, window, widths, fit_modes=(1, 8))
    figure = against_flatness.correlation_time_against_flatness(found, None, (), white_time=5.0)
    line = next(trace for trace in figure.data if trace.name == "white, fixed directions")
    assert list(line.y) == [5, 5]
    assert list(line.x) == [widths.width.min(), widths.width.max()]
    assert not figure.layout.shapes
