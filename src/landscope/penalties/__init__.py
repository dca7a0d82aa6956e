"""Penalties that hold weights near those of an earlier task (paper, Eq. 14)."""

from landscope.penalties.basin import basin_penalty
from landscope.penalties.blocks import PartPenalty, PenaltySum, load_penalty
from landscope.penalties.compression.factored import factored_penalty, uncoupled_penalty
from landscope.penalties.compression.merged import merged_penalty
from landscope.penalties.compression.moved import moved_penalty
from landscope.penalties.compression.nearest import nearest_kronecker_penalty
from landscope.penalties.compression.scaled import scaled_penalty
from landscope.penalties.fisher import (
    curvature_constraint,
    distance_penalty,
    elastic_weight_consolidation,
    kronecker_elastic_weight_consolidation,
    memory_aware_synapses,
)
from landscope.penalties.kronecker import KroneckerPenalty
from landscope.penalties.ldc import flatness_from_variance, landscape_dependent_constraint
from landscope.penalties.low_rank import LowRankKroneckerPenalty, low_rank_penalty
from landscope.penalties.proximal import ProximalSteps
from landscope.penalties.quadratic import QuadraticPenalty

__all__ = [
    "KroneckerPenalty",
    "LowRankKroneckerPenalty",
    "PartPenalty",
    "PenaltySum",
    "ProximalSteps",
    "QuadraticPenalty",
    "basin_penalty",
    "curvature_constraint",
    "distance_penalty",
    "elastic_weight_consolidation",
    "factored_penalty",
    "flatness_from_variance",
    "kronecker_elastic_weight_consolidation",
    "landscape_dependent_constraint",
    "load_penalty",
    "low_rank_penalty",
    "memory_aware_synapses",
    "merged_penalty",
    "moved_penalty",
    "nearest_kronecker_penalty",
    "scaled_penalty",
    "uncoupled_penalty",
]
