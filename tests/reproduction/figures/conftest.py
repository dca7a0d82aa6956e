"""One small reproduction, whose runs the figures share."""

import pytest

from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures.figure import Plan

SMALL = {
    "hidden": (12, 12), "batch_size": 100, "learning_rate": 0.2, "start": 20, "window_epochs": 6, "fit_modes": (2, 12),
    "flatness_modes": 12, "spectrum_ranks": (2, 10), "n_nulls": 1, "noise_modes": 5, "basis_modes": 6,
    "langevin_steps": 100, "n_processes": 2, "curvature_modes": 10, "response_modes": 3, "response_steps": 20,
    "learning_coefficient_steps": 100,
}  # fmt: skip


@pytest.fixture(scope="session")
def plan(tmp_path_factory):
    """Two seeds of a network of seconds; its runs stay for the whole session."""
    return Plan(tmp_path_factory.mktemp("reproduction") / "all", Settings.of(SMALL), seeds=2, quick=True)
