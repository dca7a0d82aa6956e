"""Methods that only the comparisons need, behind the protocol of the library's methods."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

from torch import Tensor

from landscope.directions.hessian_eigenvectors import hessian_eigenvectors, leading_eigenvectors
from landscope.directions.principal import principal_modes
from landscope.directions.random_directions import random_directions
from landscope.memory.methods.accumulate import accumulate
from landscope.memory.methods.basin import Basin
from landscope.memory.methods.ldc import LDC, measured_ranks
from landscope.memory.methods.method import Method
from landscope.memory.methods.snapshot import TaskSnapshot
from landscope.penalties.basin import basin_penalty
from landscope.penalties.blocks import PartPenalty, PenaltySum
from landscope.penalties.compression.moved import moved_penalty
from landscope.penalties.fisher import curvature_constraint, elastic_weight_consolidation
from landscope.penalties.kronecker import KroneckerPenalty
from landscope.penalties.ldc import check_widths, flatness_from_variance, landscape_dependent_constraint
from landscope.penalties.quadratic import QuadraticPenalty
from landscope.protocols import Penalty

__all__ = [
    "BasinAblation", "BatchMeanEWC", "FreshVarianceLDC", "LeadingEigenvectors", "LowFloorLDC", "RandomDirections",
]  # fmt: skip

_PSI = 4.0


@dataclasses.dataclass(frozen=True)
class LowFloorLDC(Method):
    """Landscape-dependent constraints with a lower floor: that of the flattest of twice as many modes as are held."""

    name: ClassVar[str] = "ldc-low-floor"
    needs_recording: ClassVar[bool] = True

    @property
    def default_strength(self) -> float:
        """That of LDC with a floor."""
        return LDC().default_strength

    def penalty(self, task: TaskSnapshot, count: int) -> QuadraticPenalty:
        """The constraints along the first ``count`` modes."""
        widths = task.widths(min(2 * count, task.modes.n_moving))
        check_widths(widths)
        floor = float(widths[~widths.isnan()].max()) ** -2
        return landscape_dependent_constraint(
            task.w1, task.modes, widths[:count], n_modes=count, floor=floor, strength=1.0
        )


@dataclasses.dataclass(frozen=True)
class FreshVarianceLDC(Method):
    """Constraints with F from the variance of steps that did not choose the modes.

    The modes come from the first half of the recorded window, their variance from the second half.
    """

    name: ClassVar[str] = "ldc-fresh"
    needs_recording: ClassVar[bool] = True

    @property
    def default_strength(self) -> float:
        """That of LDC with a floor."""
        return LDC().default_strength

    def penalty(self, task: TaskSnapshot, count: int) -> QuadraticPenalty:
        """The constraints along at most ``count`` modes of the first half."""
        half = len(task.trajectory) // 2
        middle = int(task.trajectory.steps[half])
        modes = principal_modes(task.trajectory.window(stop=middle), min(count, half - 1))
        held = min(count, modes.n_moving)
        ranks = measured_ranks(held)
        measured = task.widths_along(modes.directions[[rank - 1 for rank in ranks]])
        variance = modes.project_trajectory(task.trajectory.window(start=middle)).var(dim=0, correction=0)[:held]
        widths = flatness_from_variance(variance, _PSI, measured, ranks)
        return landscape_dependent_constraint(task.w1, modes, widths, n_modes=held, strength=1.0)


@dataclasses.dataclass(frozen=True)
class RandomDirections(Method):
    """Random directions, as stiff as the modes."""

    name: ClassVar[str] = "random"
    needs_recording: ClassVar[bool] = True

    def penalty(self, task: TaskSnapshot, count: int) -> QuadraticPenalty:
        """Constraints along ``count`` random directions."""
        basis = random_directions(len(task.w1), count, seed=task.seed)
        widths = task.widths(count)
        check_widths(widths)
        return curvature_constraint(task.w1, basis.directions, 2 * widths.square().reciprocal().nan_to_num(0.0))


@dataclasses.dataclass(frozen=True)
class LeadingEigenvectors(Method):
    """The leading eigenvectors of the Hessian or of the Fisher information, each as stiff as its eigenvalue."""

    matrix: Literal["Hessian", "Fisher"]

    name: ClassVar[str] = "leading"

    def n_directions(self, task: TaskSnapshot, n_modes: int) -> int:  # noqa: ARG002 - all directions are there
        """All that are asked for."""
        return n_modes

    def penalty(self, task: TaskSnapshot, count: int) -> QuadraticPenalty:
        """Constraints along ``count`` eigenvectors."""
        if self.matrix == "Hessian":
            basis = hessian_eigenvectors(task.risk, task.w1, count)
        else:
            fisher = task.risk.fisher_information()
            basis = leading_eigenvectors(
                lambda vector: fisher.product(task.w1, vector), task.w1, count, name="Fisher eigenvectors"
            )
        return curvature_constraint(task.w1, basis.directions, basis.values)


@dataclasses.dataclass(frozen=True)
class BatchMeanEWC(Method):
    """Elastic weight consolidation with the mean squares of gradients of minibatches, as some programs have it."""

    batch_size: int

    name: ClassVar[str] = "ewc-batch-mean"

    def penalty(self, task: TaskSnapshot, count: int) -> QuadraticPenalty:  # noqa: ARG002 - the protocol's argument
        """One stiffness a weight."""
        return elastic_weight_consolidation(task.risk, task.w1, fisher="batch-mean", batch_size=self.batch_size)


@dataclasses.dataclass(frozen=True)
class BasinAblation(Basin):
    """The basin method with one of its parts changed.

    Args:
        ratio: Mean loss in the basin over the loss at its minimum; near 1 for no basin, by default the usual one.
        of_loss: Take the curvature of L, not of ln L.
        is_merged: Keep one product a layer for all tasks, not one for each.
        is_moved: Hold all tasks about the latest weights, not each about its own.
    """

    ratio: float | None = None
    of_loss: bool = False
    is_merged: bool = True
    is_moved: bool = True

    def penalty(self, task: TaskSnapshot, count: int) -> PenaltySum:  # noqa: ARG002 - the protocol's argument
        """One Kronecker product a layer."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(Basin)}
        found = basin_penalty(task.risk, task.w1, ratio=self.ratio or task.ratio, **fields)
        return PenaltySum(tuple(_of_loss(part) for part in found.parts)) if self.of_loss else found

    def added(self, earlier: Penalty | None, latest: Penalty, rank: int | None, w1: Tensor) -> Penalty:  # noqa: ARG002
        """The sum over tasks."""
        if earlier is None:
            return latest
        kept = moved_penalty(earlier, w1) if self.is_moved else earlier
        return accumulate(kept, latest, 0 if self.is_merged else None)


def _of_loss(penalty: Penalty) -> Penalty:
    """A penalty of ln L times the mean loss that it was divided by."""
    assert isinstance(penalty, PartPenalty)  # noqa: S101 - the basin has one part a layer
    part = penalty.part
    if isinstance(part, QuadraticPenalty):
        return dataclasses.replace(penalty, part=dataclasses.replace(part, stiffness=part.stiffness * _mean_loss(part)))
    assert isinstance(part, KroneckerPenalty)  # noqa: S101 - it keeps every eigenvector of the input factors
    return dataclasses.replace(penalty, part=dataclasses.replace(part, outputs=part.outputs * _mean_loss(part)))


def _mean_loss(penalty: KroneckerPenalty | QuadraticPenalty) -> float:
    return float(penalty.provenance["settings"]["mean_loss"])
