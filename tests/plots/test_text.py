"""Figures of the claims in the text draw the numbers that the claims are judged by."""

import dataclasses
import math

import pytest
import torch

import landscope as ls
from known import flatness_of
from landscope import plots
from landscope.law.spectrum import spectrum
from landscope.noise import correlation_time_from_velocities, mode_statistics, velocity_statistics
from landscope.noise.drift_path import DriftPath
from landscope.synthetic import random_walk

LINE = torch.linspace(0, 1, 11).double()


@pytest.fixture(scope="module")
def walk():
    window = ls.Trajectory.of(random_walk(300, 200, seed=0))
    return window, ls.principal_modes(window)


def test_the_exponent_of_a_random_walk_is_two_at_every_rank(walk):
    window, modes = walk
    shown = spectrum(modes, window, mode_statistics(modes, window), spectrum_ranks=(3, 30))
    figure = plots.spectrum_exponents(shown, (), ())
    (own,) = figure.data
    early = [gamma for rank, gamma in zip(own.x, own.y, strict=True) if rank <= 20]
    assert early == pytest.approx([2.0] * len(early), abs=0.5)  # each variance scatters by (2/N)^(1/2) = 0.1
    assert [shape.x0 for shape in figure.layout.shapes] == [3, 30]


def test_an_exponential_loss_is_a_straight_line_through_the_points():
    path = DriftPath(
        displacements=LINE, loss=0.1 * torch.exp(-2 * LINE), margin=LINE, relative_margin=LINE, train_error=LINE,
        test_loss=LINE, test_error=LINE, window_displacement=1.0, beta_slope=-2.0, beta_ensemble=-2.0,
    )  # fmt: skip
    traces = {trace.name: trace for trace in plots.loss_forms_along_drift(path).data}
    assert traces["measured"].y == pytest.approx(traces["exponential L"].y[::6])
    still = plots.loss_forms_along_drift(dataclasses.replace(path, loss=0 * LINE))
    assert [len(trace.x) for trace in still.data] == [0]


def test_correlation_times_are_those_of_both_sides_of_eq_13(walk):
    window, modes = walk
    velocity = velocity_statistics(window, modes.part(slice(20)), 30)
    predicted, measured, *_ = plots.correlation_times_from_velocities(velocity).data
    expected = correlation_time_from_velocities(velocity.autocorrelation, 300)
    assert predicted.y == pytest.approx(expected[expected > 0].numpy())
    assert measured.y == pytest.approx(velocity.correlation_time.numpy())


def test_flatness_at_two_levels_leaves_out_what_was_not_reached():
    widths = flatness_of(torch.tensor([1.0, math.nan, 3.0, 4.0]).double())
    figure = plots.flatness_at_two_levels(widths, dataclasses.replace(flatness_of(torch.ones(3).double()), ratio=2.0))
    assert [(trace.name, list(trace.x)) for trace in figure.data] == [("at e L₀", [1, 3]), ("at 2 L₀", [1, 2, 3])]
