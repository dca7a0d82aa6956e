"""Statistics of the minibatch noise that explain the variance-flatness law (paper, Eqs. 9 to 13 and 15)."""

from landscope.noise.correlation_time import correlation_time_from_velocities
from landscope.noise.cosine_content import cosine_content
from landscope.noise.drift import DriftLaw, Phases, drift_law, learning_phases
from landscope.noise.edge_of_stability import EdgeOfStability, edge_of_stability
from landscope.noise.effective_curvature import EffectiveCurvature, effective_curvature, effective_curvature_at
from landscope.noise.ensemble import MinibatchEnsemble, minibatch_ensemble
from landscope.noise.finite_window import stationary_variance, window_factor
from landscope.noise.gradient import GradientNoise, gradient_noise
from landscope.noise.log_hessian import LogHessian, log_hessian
from landscope.noise.mode_statistics import ModeStatistics, block_variances, mode_statistics
from landscope.noise.oscillation import Oscillation, oscillation, oscillation_share
from landscope.noise.response import DirectResponse, direct_response
from landscope.noise.scale import NoiseScale, noise_scale, noise_scale_of_two_sizes
from landscope.noise.stationarity import LyapunovResidual, YaidaRelation, lyapunov_residual, yaida_relation
from landscope.noise.step_rule import StepRule
from landscope.noise.temperature import ActiveTemperature, active_temperature
from landscope.noise.velocity import VelocityStatistics, velocity_statistics
from landscope.noise.window_time import window_time

__all__ = [
    "ActiveTemperature",
    "DirectResponse",
    "DriftLaw",
    "EffectiveCurvature",
    "EdgeOfStability",
    "GradientNoise",
    "LogHessian",
    "LyapunovResidual",
    "MinibatchEnsemble",
    "ModeStatistics",
    "NoiseScale",
    "Oscillation",
    "Phases",
    "StepRule",
    "VelocityStatistics",
    "YaidaRelation",
    "active_temperature",
    "block_variances",
    "correlation_time_from_velocities",
    "cosine_content",
    "direct_response",
    "drift_law",
    "effective_curvature",
    "effective_curvature_at",
    "edge_of_stability",
    "gradient_noise",
    "learning_phases",
    "log_hessian",
    "lyapunov_residual",
    "minibatch_ensemble",
    "mode_statistics",
    "noise_scale",
    "noise_scale_of_two_sizes",
    "oscillation",
    "oscillation_share",
    "stationary_variance",
    "velocity_statistics",
    "window_factor",
    "window_time",
    "yaida_relation",
]
