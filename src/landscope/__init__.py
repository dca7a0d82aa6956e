"""landscope: what a training run does in the loss landscape.

The public names below are loaded when first used, so that ``import landscope`` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from landscope._version import __version__

_HOMES = {
    "ParameterSpace": "parameters",
    "EmpiricalRisk": "risk",
    "TrajectoryRecorder": "recorder",
    "Trajectory": "trajectory",
    "open_trajectory": "trajectory",
    "PrincipalModes": "modes",
    "principal_modes": "modes",
    "subspace_overlap": "modes",
    "cosine_content": "modes",
    "LossProfiles": "landscape",
    "loss_profiles": "landscape",
    "ProfileFits": "landscape",
    "fit_profiles": "landscape",
    "Flatness": "landscape",
    "flatness": "landscape",
    "directional_curvature": "landscape",
    "PowerLaw": "scaling",
    "fit_power_law": "scaling",
    "VarianceFlatnessLaw": "law",
    "variance_flatness_law": "law",
    "block_variances": "motion",
    "Motion": "motion",
    "motion_along": "motion",
    "InverseRelation": "paper.relation",
    "Preconditioned": "preconditioning",
    "adam_preconditioner": "preconditioning",
    "NoisyGradientDescent": "noisy_descent",
    "gradient_noise_like": "noisy_descent",
    "Exponents": "exponents",
    "flatness_exponents": "exponents",
    "errors_in_variables_exponent": "scaling",
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
    "QuadraticPenalty": "penalties",
    "landscape_dependent_constraint": "penalties",
    "flatness_from_variance": "penalties",
    "elastic_weight_consolidation": "penalties",
    "factored_penalty": "penalties",
    "kronecker_elastic_weight_consolidation": "penalties",
    "KroneckerPenalty": "penalties",
    "curvature_constraint": "penalties",
    "distance_penalty": "penalties",
    "PartPenalty": "penalties",
    "PenaltySum": "penalties",
    "memory_aware_synapses": "penalties",
    "merged_penalty": "penalties",
    "nearest_kronecker_penalty": "penalties",
    "load_penalty": "penalties",
    "ProximalSteps": "proximal",
    "TaskMemory": "tasks",
    "sharp_dimension": "dimension",
    "sharp_directions": "dimension",
    "learning_dimension": "dimension",
    "learning_dimension_over_time": "dimension",
    "shuffled_increments": "controls",
    "Basis": "controls",
    "hessian_basis": "controls",
    "gradient_noise_basis": "controls",
    "random_basis": "controls",
    "modes_along": "controls",
    "sign_flipped_epochs": "controls",
    "random_walk_like": "controls",
    "ornstein_uhlenbeck": "controls",
    "langevin": "controls",
    "crossover_curvature": "controls",
    "epoch_noise_time": "controls",
    "variance_along": "controls",
    "MinibatchOrder": "sampling",
    "save": "storage",
    "load": "storage",
}

__all__ = list(_HOMES)

if TYPE_CHECKING:
    from landscope.controls import (
        Basis,
        crossover_curvature,
        epoch_noise_time,
        gradient_noise_basis,
        hessian_basis,
        langevin,
        modes_along,
        ornstein_uhlenbeck,
        random_basis,
        random_walk_like,
        shuffled_increments,
        sign_flipped_epochs,
        variance_along,
    )
    from landscope.dimension import learning_dimension, learning_dimension_over_time, sharp_dimension, sharp_directions
    from landscope.exponents import Exponents, flatness_exponents
    from landscope.landscape import (
        Flatness,
        LossProfiles,
        ProfileFits,
        directional_curvature,
        fit_profiles,
        flatness,
        loss_profiles,
    )
    from landscope.law import VarianceFlatnessLaw, variance_flatness_law
    from landscope.modes import PrincipalModes, cosine_content, principal_modes, subspace_overlap
    from landscope.motion import Motion, block_variances, motion_along
    from landscope.noise.drift import DriftLaw, Phases, drift_law, learning_phases
    from landscope.noise.ensemble import MinibatchEnsemble, minibatch_ensemble
    from landscope.noise.gradient import GradientNoise, gradient_noise
    from landscope.noise.log_hessian import LogHessian, log_hessian
    from landscope.noise.stationarity import LyapunovResidual, YaidaRelation, lyapunov_residual, yaida_relation
    from landscope.noise.temperature import ActiveTemperature, active_temperature
    from landscope.noise.velocity import VelocityStatistics, velocity_statistics
    from landscope.noisy_descent import NoisyGradientDescent, gradient_noise_like
    from landscope.paper.relation import InverseRelation
    from landscope.parameters import ParameterSpace
    from landscope.penalties import (
        KroneckerPenalty,
        PartPenalty,
        PenaltySum,
        QuadraticPenalty,
        curvature_constraint,
        distance_penalty,
        elastic_weight_consolidation,
        factored_penalty,
        flatness_from_variance,
        kronecker_elastic_weight_consolidation,
        landscape_dependent_constraint,
        load_penalty,
        memory_aware_synapses,
        merged_penalty,
        nearest_kronecker_penalty,
    )
    from landscope.preconditioning import Preconditioned, adam_preconditioner
    from landscope.proximal import ProximalSteps
    from landscope.recorder import TrajectoryRecorder
    from landscope.risk import EmpiricalRisk
    from landscope.sampling import MinibatchOrder
    from landscope.scaling import PowerLaw, errors_in_variables_exponent, fit_power_law
    from landscope.storage import load, save
    from landscope.tasks import TaskMemory
    from landscope.trajectory import Trajectory, open_trajectory


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"landscope.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'landscope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
