"""Weights over optimisation steps, in memory or on disk, with their provenance."""

from landscope.trajectory.stored import (
    open_trajectory,
    stored_dtype,
    trajectory_attributes,
    trajectory_columns,
    write_trajectory,
)
from landscope.trajectory.trajectory import Trajectory, check_fresh

__all__ = [
    "Trajectory",
    "check_fresh",
    "open_trajectory",
    "stored_dtype",
    "trajectory_attributes",
    "trajectory_columns",
    "write_trajectory",
]
