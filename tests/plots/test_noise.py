"""Figures of the noise have axes and colours for what was measured, and for nothing else."""

import math

import pytest
import torch

from landscope.noise.drift_path import DriftPath
from landscope.noise.noise_and_curvature import NoiseAndCurvature
from landscope.plots import noise


def drift_path(margin, test_error):
    points = torch.linspace(0, 1, 5, dtype=torch.float64)
    return DriftPath(
        displacements=points, loss=points, margin=margin * (1 + points), relative_margin=margin * (1 + points),
        train_error=points, test_loss=points, test_error=test_error * points, window_displacement=1.0, beta_slope=1.0,
        beta_ensemble=1.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("margin", "test_error", "axes", "curves"),
    [
        (1.0, 1.0, ["margin", "test error (%)"], 3),
        (math.nan, 1.0, ["test error (%)"], 1),
        (1.0, math.nan, ["margin"], 2),
    ],
)
def test_the_drift_has_axes_for_what_was_measured(margin, test_error, axes, curves):
    figure = noise.loss_along_drift(drift_path(margin, test_error))
    assert [axis.title.text for axis in figure.select_yaxes()] == axes
    assert len(figure.data) == curves


@pytest.mark.parametrize("count", [1, 6, 25])
def test_every_layer_has_its_own_mark_filled_for_the_first_basis_and_open_for_the_second(count):
    points = torch.tensor([1.0, 2.0], dtype=torch.float64)
    layers = [
        NoiseAndCurvature(layer=f"{n}", basis=basis, variance=points, curvature=points, exponent=1.0, n_not_convex=0)
        for n in range(count)
        for basis in ("hessian", "noise")
    ]
    marks = [(trace.marker.color, trace.marker.symbol) for trace in noise.noise_against_curvature(layers).data]
    assert len(set(marks)) == 2 * count
    for (color, symbol), second in zip(marks[::2], marks[1::2], strict=True):
        assert second == (color, f"{symbol}-open")
