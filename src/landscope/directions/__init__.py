"""Directions in weight space: principal modes, Hessian and gradient-noise eigenvectors, random ones."""

from landscope.directions.directions import Directions
from landscope.directions.gauss_newton_eigenvectors import gauss_newton_eigenvectors as gauss_newton
from landscope.directions.gradient_noise_eigenvectors import gradient_noise_eigenvectors as gradient_noise
from landscope.directions.hessian_eigenvectors import hessian_eigenvectors as hessian
from landscope.directions.moving import moving
from landscope.directions.over_training import ModesOverTraining, modes_over_training
from landscope.directions.overlap import subspace_overlap
from landscope.directions.principal import principal_modes, principal_variances
from landscope.directions.random_directions import random_directions as random
from landscope.directions.ranks import log_spaced_ranks

__all__ = [
    "Directions",
    "ModesOverTraining",
    "modes_over_training",
    "principal_modes",
    "principal_variances",
    "gauss_newton",
    "hessian",
    "gradient_noise",
    "random",
    "moving",
    "log_spaced_ranks",
    "subspace_overlap",
]
