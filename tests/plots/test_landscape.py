"""Figures 1 and 2 show what was fitted and measured, and nothing where nothing was."""

import dataclasses

import pytest
import torch

from landscope.directions.principal import principal_modes
from landscope.law.spectrum import spectrum
from landscope.noise.mode_statistics import mode_statistics
from landscope.plots import landscape
from landscope.synthetic import random_walk
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
