"""landscope: what a training run does in the loss landscape.

The public names below are loaded when first used, so that ``import landscope`` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from landscope._version import __version__

_HOMES = {
    "ParameterSpace": "parameters",
    "EmpiricalRisk": "risk.empirical",
    "TrajectoryRecorder": "recorder",
    "Trajectory": "trajectory",
    "open_trajectory": "trajectory",
    "PrincipalModes": "directions.principal",
    "principal_modes": "directions.principal",
    "subspace_overlap": "directions.overlap",
    "cosine_content": "noise.cosine_content",
    "LossProfiles": "landscape.profile",
    "loss_profiles": "landscape.profile",
    "ProfileFits": "landscape.profile",
    "fit_profiles": "landscape.profile",
    "Flatness": "landscape.flatness",
    "flatness": "landscape.flatness",
    "directional_curvature": "landscape.curvature",
    "PowerLaw": "power_law",
    "fit_power_law": "power_law",
    "VarianceFlatnessLaw": "law.variance_flatness",
    "variance_flatness_law": "law.variance_flatness",
    "block_variances": "noise.mode_statistics",
    "ModeStatistics": "noise.mode_statistics",
    "mode_statistics": "noise.mode_statistics",
    "InverseRelation": "law.inverse_relation",
    "Preconditioned": "landscape.preconditioned",
    "adam_preconditioner": "landscape.preconditioned",
    "NoisyGradientDescent": "surrogates.noisy_descent",
    "gradient_noise_like": "surrogates.noisy_descent",
    "Exponents": "law.exponents",
    "fit_exponents": "law.exponents",
    "errors_in_variables_exponent": "power_law",
    "VelocityStatistics": "noise.velocity",
    "velocity_statistics": "noise.velocity",
    "MinibatchEnsemble": "noise.ensemble",
    "minibatch_ensemble": "noise.ensemble",
    "LogHessian": "noise.log_hessian",
    "log_hessian": "noise.log_hessian",
    "GradientNoise": "noise.gradient",
    "gradient_noise": "noise.gradient",
    "ActiveTemperature": "noise.temperature",
    "active_temperature": "noise.temperature",
    "YaidaRelation": "noise.stationarity",
    "yaida_relation": "noise.stationarity",
    "LyapunovResidual": "noise.stationarity",
    "lyapunov_residual": "noise.stationarity",
    "Phases": "noise.drift",
    "learning_phases": "noise.drift",
    "DriftLaw": "noise.drift",
    "drift_law": "noise.drift",
    "QuadraticPenalty": "penalties.quadratic",
    "landscape_dependent_constraint": "penalties.ldc",
    "flatness_from_variance": "penalties.ldc",
    "elastic_weight_consolidation": "penalties.fisher",
    "factored_penalty": "penalties.compression.factored",
    "kronecker_elastic_weight_consolidation": "penalties.fisher",
    "KroneckerPenalty": "penalties.kronecker",
    "curvature_constraint": "penalties.fisher",
    "distance_penalty": "penalties.fisher",
    "PartPenalty": "penalties.blocks",
    "PenaltySum": "penalties.blocks",
    "memory_aware_synapses": "penalties.fisher",
    "merged_penalty": "penalties.compression.merged",
    "nearest_kronecker_penalty": "penalties.compression.nearest",
    "load_penalty": "penalties.blocks",
    "ProximalSteps": "penalties.proximal",
    "TaskMemory": "memory.task_memory",
    "sharp_dimension": "landscape.dimension",
    "flatness_until_flat": "landscape.dimension",
    "learning_dimension": "landscape.dimension",
    "learning_dimension_over_time": "landscape.dimension",
    "shuffled_increments": "surrogates.trajectories",
    "Basis": "directions.basis",
    "hessian_basis": "directions.hessian",
    "gradient_noise_basis": "directions.gradient_noise",
    "random_basis": "directions.random",
    "modes_along": "directions.basis",
    "sign_flipped_epochs": "surrogates.trajectories",
    "random_walk_like": "surrogates.trajectories",
    "ornstein_uhlenbeck": "surrogates.trajectories",
    "langevin": "surrogates.langevin",
    "crossover_curvature": "surrogates.epoch_noise",
    "epoch_noise_time": "surrogates.epoch_noise",
    "variance_along": "directions.basis",
    "MinibatchOrder": "sampling",
    "save": "storage.archive",
    "load": "storage.archive",
}

__all__ = list(_HOMES)

if TYPE_CHECKING:
    from landscope.directions.basis import Basis, modes_along, variance_along
    from landscope.directions.gradient_noise import gradient_noise_basis
    from landscope.directions.hessian import hessian_basis
    from landscope.directions.overlap import subspace_overlap
    from landscope.directions.principal import PrincipalModes, principal_modes
    from landscope.directions.random import random_basis
    from landscope.landscape.curvature import directional_curvature
    from landscope.landscape.dimension import (
        flatness_until_flat,
        learning_dimension,
        learning_dimension_over_time,
        sharp_dimension,
    )
    from landscope.landscape.flatness import Flatness, flatness
    from landscope.landscape.preconditioned import Preconditioned, adam_preconditioner
    from landscope.landscape.profile import LossProfiles, ProfileFits, fit_profiles, loss_profiles
    from landscope.law.exponents import Exponents, fit_exponents
    from landscope.law.inverse_relation import InverseRelation
    from landscope.law.variance_flatness import VarianceFlatnessLaw, variance_flatness_law
    from landscope.memory.task_memory import TaskMemory
    from landscope.noise.cosine_content import cosine_content
    from landscope.noise.drift import DriftLaw, Phases, drift_law, learning_phases
    from landscope.noise.ensemble import MinibatchEnsemble, minibatch_ensemble
    from landscope.noise.gradient import GradientNoise, gradient_noise
    from landscope.noise.log_hessian import LogHessian, log_hessian
    from landscope.noise.mode_statistics import ModeStatistics, block_variances, mode_statistics
    from landscope.noise.stationarity import LyapunovResidual, YaidaRelation, lyapunov_residual, yaida_relation
    from landscope.noise.temperature import ActiveTemperature, active_temperature
    from landscope.noise.velocity import VelocityStatistics, velocity_statistics
    from landscope.parameters import ParameterSpace
    from landscope.penalties.blocks import PartPenalty, PenaltySum, load_penalty
    from landscope.penalties.compression.factored import factored_penalty
    from landscope.penalties.compression.merged import merged_penalty
    from landscope.penalties.compression.nearest import nearest_kronecker_penalty
    from landscope.penalties.fisher import (
        curvature_constraint,
        distance_penalty,
        elastic_weight_consolidation,
        kronecker_elastic_weight_consolidation,
        memory_aware_synapses,
    )
    from landscope.penalties.kronecker import KroneckerPenalty
    from landscope.penalties.ldc import flatness_from_variance, landscape_dependent_constraint
    from landscope.penalties.proximal import ProximalSteps
    from landscope.penalties.quadratic import QuadraticPenalty
    from landscope.power_law import PowerLaw, errors_in_variables_exponent, fit_power_law
    from landscope.recorder import TrajectoryRecorder
    from landscope.risk.empirical import EmpiricalRisk
    from landscope.sampling import MinibatchOrder
    from landscope.storage.archive import load, save
    from landscope.surrogates.epoch_noise import crossover_curvature, epoch_noise_time
    from landscope.surrogates.langevin import langevin
    from landscope.surrogates.noisy_descent import NoisyGradientDescent, gradient_noise_like
    from landscope.surrogates.trajectories import (
        ornstein_uhlenbeck,
        random_walk_like,
        shuffled_increments,
        sign_flipped_epochs,
    )
    from landscope.trajectory import Trajectory, open_trajectory


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"landscope.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'landscope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
