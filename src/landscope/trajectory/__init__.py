"""Weights over optimisation steps, in memory or on disk, with their provenance."""

from landscope.trajectory.rounding import HeldByRounding, held_by_rounding
from landscope.trajectory.rows import BlockRows
from landscope.trajectory.stored import (
    open_trajectory,
    stored_dtype,
    trajectory_attributes,
    trajectory_columns,
    write_trajectory,
)
from landscope.trajectory.trajectory import Trajectory, check_fresh, check_space

__all__ = [
    "BlockRows",
    "HeldByRounding",
    "Trajectory",
    "check_fresh",
    "check_space",
    "held_by_rounding",
    "open_trajectory",
    "stored_dtype",
    "trajectory_attributes",
    "trajectory_columns",
    "write_trajectory",
]
