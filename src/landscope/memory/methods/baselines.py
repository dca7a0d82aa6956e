"""Methods without curvature: memory-aware synapses, and the distance from the end of the task."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from landscope.memory.methods.method import Method
from landscope.memory.methods.snapshot import TaskSnapshot
from landscope.penalties.fisher import (
    distance_penalty,
    memory_aware_synapses,
)
from landscope.penalties.quadratic import QuadraticPenalty

__all__ = ["MAS", "L2"]


@dataclasses.dataclass(frozen=True)
class MAS(Method):
    """Memory-aware synapses: hold every weight by how much it moves the outputs."""

    name: ClassVar[str] = "mas"

    def penalty(self, task: TaskSnapshot, count: int) -> QuadraticPenalty:  # noqa: ARG002 - the protocol's argument
        """One stiffness for each weight, from the snapshot ``task``; ``count`` is not used."""
        return memory_aware_synapses(task.risk, task.w1)


@dataclasses.dataclass(frozen=True)
class L2(Method):
    """Hold all weights alike, by their distance from the end of the task."""

    name: ClassVar[str] = "l2"

    def penalty(self, task: TaskSnapshot, count: int) -> QuadraticPenalty:  # noqa: ARG002 - the protocol's argument
        """One stiffness for all weights, about the end of the snapshot ``task``; ``count`` is not used."""
        return distance_penalty(task.w1)
