"""Eq. 13: correlations of velocities give the variance of a window, and what no correlations give."""

import numpy as np
import pytest
import torch

from landscope.errors import InputError
from landscope.noise.correlation_time import (
    _cumulative,
    correlation_time_from_velocities,
    white_time_ratio_band,
)
from landscope.noise.velocity import white_time


def by_pairs(correlation, rows):
    """sigma^2/D of a window: half the mean over all pairs of rows of their mean squared distance, term by term."""
    lags = len(correlation)

    def squared_distance(steps):
        return sum(float(correlation[abs(i - j)]) for i in range(steps) for j in range(steps) if abs(i - j) < lags)

    distance = [squared_distance(steps) for steps in range(rows)]
    centred = sum(distance[abs(i - j)] for i in range(rows) for j in range(rows)) / (2 * rows**2)
    return centred, sum(distance) / rows


@pytest.mark.parametrize("correlation", [[1.0], [1.0, -0.3, 0.1], [1.0, 0.9, 0.8, 0.7, 0.6]])
def test_the_sum_over_lags_is_the_mean_over_all_pairs_of_rows(correlation):
    column = torch.tensor(correlation, dtype=torch.float64)[:, None]
    for centred, expected in zip((True, False), by_pairs(correlation, 12), strict=True):
        found = correlation_time_from_velocities(column, 12, centred=centred)
        assert float(found[0]) == pytest.approx(expected, rel=1e-12)  # sums of 12^3 terms in float64


def test_without_memory_it_is_that_of_a_window_of_white_velocities():
    white = torch.ones(1, 1).double()
    assert float(correlation_time_from_velocities(white, 500)[0]) == pytest.approx(white_time(500), rel=1e-14)


@pytest.mark.parametrize("a", [0.5, 0.9])
def test_it_gives_the_exact_time_of_an_autoregressive_position(a):
    """v has c(l) = -(1 - a) a^(l-1)/2. sigma^2 of the window is that of an infinite one less the variance of its mean:
    s = 1/(1 - a^2) and var(mean) = s/T (1 + 2 sum_l (1 - l/T) a^l), over D = 2/(1 + a)."""
    rows = 300
    lag = torch.arange(rows - 1).double()
    correlation = torch.where(lag == 0, 1.0, -(1 - a) / 2 * a ** (lag - 1))
    powers = np.arange(1, rows)
    lost = (1 + 2 * np.sum((1 - powers / rows) * a**powers)) / rows
    exact = (1 - lost) / (1 - a**2) / (2 / (1 + a))
    found = float(correlation_time_from_velocities(correlation[:, None], rows)[0])
    # The sums cancel to tau/T of their terms, of order T/6 in float64: 1e-16 * 300/6/tau, below 1e-13 here.
    assert found == pytest.approx(exact, rel=1e-10)


def test_too_many_lags_are_refused():
    with pytest.raises(InputError, match="fewer lags"):
        correlation_time_from_velocities(torch.ones(10, 1).double(), 10)


@pytest.mark.parametrize(("point", "probability"), [(0.11888, 0.5), (0.46136, 0.95), (0.74346, 0.99)])
def test_the_variance_of_a_walk_has_the_distribution_of_cramer_and_von_mises(point, probability):
    """Points of the published table, to its five digits: the density there is below 5, so 1e-5 moves 5e-5."""
    assert _cumulative(point) == pytest.approx(probability, abs=5e-5)


def test_white_velocities_fall_into_their_band_and_no_narrower_one():
    """400 medians of nine walks each: 95 % lie inside, give or take three standard errors of 1.1 %."""
    generator = torch.Generator().manual_seed(0)
    paths = torch.randn(400, 9, 400, generator=generator).double().cumsum(dim=2)
    ratio = paths.var(dim=2, correction=0) / white_time(400)
    medians = ratio.median(dim=1).values
    low, high = white_time_ratio_band(9)
    assert abs(float(((medians > low) & (medians < high)).double().mean()) - 0.95) < 0.033
    assert white_time_ratio_band(400)[0] > low
