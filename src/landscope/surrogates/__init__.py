"""Surrogate trajectories: nulls and controls that go through the same analysis as the run itself."""

from landscope.surrogates.epoch_noise import crossover_curvature, epoch_noise_time
from landscope.surrogates.langevin import langevin
from landscope.surrogates.noisy_descent import NoisyGradientDescent, gradient_noise_like
from landscope.surrogates.random_walks import random_walk_like
from landscope.surrogates.registry import SURROGATES, Surrogate, make_surrogate
from landscope.surrogates.relaxation import ornstein_uhlenbeck
from landscope.surrogates.shuffled import shuffled_increments
from landscope.surrogates.sign_flips import sign_flipped_epochs

__all__ = [
    "SURROGATES",
    "NoisyGradientDescent",
    "Surrogate",
    "crossover_curvature",
    "epoch_noise_time",
    "gradient_noise_like",
    "langevin",
    "make_surrogate",
    "ornstein_uhlenbeck",
    "random_walk_like",
    "shuffled_increments",
    "sign_flipped_epochs",
]
