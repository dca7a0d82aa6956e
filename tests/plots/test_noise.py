"""Figures of the noise have axes and colours for what was measured, and for nothing else."""

import math

import pytest
import torch

from landscope.noise.drift_path import DriftPath
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
