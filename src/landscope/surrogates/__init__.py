"""Surrogate trajectories: nulls and controls that go through the same analysis as the run itself."""

from landscope.surrogates import registry
from landscope.surrogates.epoch_noise import crossover_curvature, epoch_noise_time
from landscope.surrogates.epoch_share import epoch_noise_share
from landscope.surrogates.equilibrium import relaxing_process, walk_beside
from landscope.surrogates.finite_window import finite_window_process, rest_curvature
from landscope.surrogates.langevin import langevin
from landscope.surrogates.noisy_descent import NoisyGradientDescent, gradient_noise_like
from landscope.surrogates.registry import *  # noqa: F403 - every null of the registry

__all__ = [
    "NoisyGradientDescent",
    "crossover_curvature",
    "epoch_noise_share",
    "epoch_noise_time",
    "finite_window_process",
    "gradient_noise_like",
    "langevin",
    "relaxing_process",
    "rest_curvature",
    "walk_beside",
    *registry.__all__,
]
