"""Statistics of the minibatch noise that explain the variance-flatness law (paper, Eqs. 9 to 13 and 15)."""

from landscope.noise.cosine_content import cosine_content
from landscope.noise.drift import DriftLaw, Phases, drift_law, learning_phases
from landscope.noise.ensemble import MinibatchEnsemble, minibatch_ensemble
from landscope.noise.finite_window import stationary_variance, window_factor
from landscope.noise.gradient import GradientNoise, gradient_noise
from landscope.noise.log_hessian import LogHessian, log_hessian
from landscope.noise.mode_statistics import ModeStatistics, block_variances, mode_statistics
from landscope.noise.stationarity import LyapunovResidual, YaidaRelation, lyapunov_residual, yaida_relation
from landscope.noise.step_rule import StepRule
from landscope.noise.temperature import ActiveTemperature, active_temperature
from landscope.noise.velocity import VelocityStatistics, velocity_statistics

__all__ = [
    "ActiveTemperature",
    "DriftLaw",
    "GradientNoise",
    "LogHessian",
    "LyapunovResidual",
    "MinibatchEnsemble",
    "ModeStatistics",
    "Phases",
    "StepRule",
    "VelocityStatistics",
    "YaidaRelation",
    "active_temperature",
    "block_variances",
    "cosine_content",
    "drift_law",
    "gradient_noise",
    "learning_phases",
    "log_hessian",
    "lyapunov_residual",
    "minibatch_ensemble",
    "mode_statistics",
    "stationary_variance",
    "velocity_statistics",
    "window_factor",
    "yaida_relation",
]
