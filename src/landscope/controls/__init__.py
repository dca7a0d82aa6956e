"""Controls: the same analysis on other trajectories and along other directions."""

from landscope.controls.bases import (
    Basis,
    gradient_noise_basis,
    hessian_basis,
    modes_along,
    random_basis,
    variance_along,
)
from landscope.controls.epoch_noise import crossover_curvature, epoch_noise_time
from landscope.controls.langevin import langevin
from landscope.controls.surrogates import (
    SURROGATES,
    ornstein_uhlenbeck,
    random_walk_like,
    shuffled_increments,
    sign_flipped_epochs,
    surrogate,
)

__all__ = [
    "SURROGATES",
    "Basis",
    "crossover_curvature",
    "epoch_noise_time",
    "gradient_noise_basis",
    "hessian_basis",
    "langevin",
    "modes_along",
    "ornstein_uhlenbeck",
    "random_basis",
    "random_walk_like",
    "shuffled_increments",
    "sign_flipped_epochs",
    "surrogate",
    "variance_along",
]
