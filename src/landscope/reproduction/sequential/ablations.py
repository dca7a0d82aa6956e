"""Methods that only the comparisons need, behind the protocol of the library's methods, and all methods by key."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from landscope.directions.hessian_eigenvectors import hessian_eigenvectors, leading_eigenvectors
from landscope.directions.principal import principal_modes
from landscope.directions.random_directions import random_directions
from landscope.memory.methods import EWC, KFAC, L2, LDC, MAS, Method, decades, measured_ranks
from landscope.memory.snapshot import TaskSnapshot
from landscope.penalties.fisher import curvature_constraint
from landscope.penalties.ldc import check_widths, flatness_from_variance, landscape_dependent_constraint
from landscope.penalties.quadratic import QuadraticPenalty

__all__ = [
    "COMPARED",
    "PSI_METHODS",
    "UNPROTECTED",
    "FreshVarianceLDC",
    "LeadingFisher",
    "LeadingHessian",
    "LowFloorLDC",
    "RandomDirections",
    "method_label",
]

UNPROTECTED: Mapping[str, str] = {"none": "nothing", "joint": "all tasks so far at once"}
"""Trainings without a penalty, and their labels."""

_PSI = 4.0


@dataclasses.dataclass(frozen=True)
class _HoldsModes(Method):
    """Methods that hold as many directions as LDC, at the same strengths."""

    strengths: ClassVar[tuple[float, ...]] = LDC.strengths
    takes_modes: ClassVar[bool] = True
    needs_recording: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True)
class LowFloorLDC(_HoldsModes):
    """Landscape-dependent constraints with a lower floor: that of the flattest of twice as many modes as are held."""

    name: ClassVar[str] = "ldc-low-floor"
    title: ClassVar[str] = "LDC with a lower floor"

    @property
    def default_strength(self) -> float:
        """That of LDC with a floor."""
        return LDC().default_strength

    @property
    def measures_flatness(self) -> bool:
        """The flatness of every mode is measured."""
        return True

    def penalty(self, task: TaskSnapshot, count: int) -> QuadraticPenalty:
        """The constraints along the first ``count`` modes."""
        widths = task.widths(task.flatness(min(2 * count, task.modes.n_moving)))
        check_widths(widths)
        floor = float(widths[~widths.isnan()].max()) ** -2
        return landscape_dependent_constraint(
            task.w1, task.modes, widths[:count], n_modes=count, floor=floor, strength=1.0
        )


@dataclasses.dataclass(frozen=True)
class FreshVarianceLDC(_HoldsModes):
    """Constraints with F from the variance of steps that did not choose the modes.

    The modes come from the first half of the recorded window, their variance from the second half.
    """

    name: ClassVar[str] = "ldc-fresh"
    title: ClassVar[str] = "LDC with floor, F from psi = 4 and fresh steps"

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
        measured = task.widths(task.flatness_of(modes.directions[[rank - 1 for rank in ranks]]))
        variance = modes.project_trajectory(task.trajectory.window(start=middle)).var(dim=0, correction=0)[:held]
        widths = flatness_from_variance(variance, _PSI, measured, ranks)
        return landscape_dependent_constraint(task.w1, modes, widths, n_modes=held, strength=1.0)


@dataclasses.dataclass(frozen=True)
class RandomDirections(_HoldsModes):
    """Random directions, as stiff as the modes."""

    name: ClassVar[str] = "random"
    title: ClassVar[str] = "random directions"

    @property
    def measures_flatness(self) -> bool:
        """The flatness of every mode is measured."""
        return True

    def penalty(self, task: TaskSnapshot, count: int) -> QuadraticPenalty:
        """Constraints along ``count`` random directions."""
        basis = random_directions(len(task.w1), count, seed=task.seed)
        widths = task.widths(task.flatness(count))
        check_widths(widths)
        return curvature_constraint(task.w1, basis.directions, 2 * widths.square().reciprocal().nan_to_num(0.0))


@dataclasses.dataclass(frozen=True)
class LeadingHessian(Method):
    """The leading eigenvectors of the Hessian, each as stiff as its eigenvalue."""

    name: ClassVar[str] = "hessian"
    title: ClassVar[str] = "Hessian, leading"
    strengths: ClassVar[tuple[float, ...]] = decades(1, 6)
    takes_modes: ClassVar[bool] = True

    def penalty(self, task: TaskSnapshot, count: int) -> QuadraticPenalty:
        """Constraints along ``count`` eigenvectors."""
        basis = hessian_eigenvectors(task.risk, task.w1, count)
        return curvature_constraint(task.w1, basis.directions, basis.values)


@dataclasses.dataclass(frozen=True)
class LeadingFisher(Method):
    """The leading eigenvectors of the Fisher information, each as stiff as its eigenvalue."""

    name: ClassVar[str] = "fisher"
    title: ClassVar[str] = "Fisher, leading"
    strengths: ClassVar[tuple[float, ...]] = decades(1, 6)
    takes_modes: ClassVar[bool] = True

    @property
    def needs_classifier(self) -> bool:
        """The Fisher information is that of a classifier."""
        return True

    def penalty(self, task: TaskSnapshot, count: int) -> QuadraticPenalty:
        """Constraints along ``count`` eigenvectors."""
        fisher = task.risk.fisher_information()

        def product(vector: Tensor) -> Tensor:
            return fisher.product(task.w1, vector)

        basis = leading_eigenvectors(product, task.w1, count, name="Fisher eigenvectors")
        return curvature_constraint(task.w1, basis.directions, basis.values)


PSI_METHODS: Mapping[int, LDC] = {psi: LDC("variance", psi=psi, floor=False) for psi in (3, 4, 5)}
"""The paper's constraints with F from the variance, by the exponent psi (paper, Sec. S6)."""

_LDC = [
    LDC(),
    LDC(floor=False),
    LDC(factored=True),
    LDC("variance"),
    LDC("variance", factored=True),
    LowFloorLDC(),
    FreshVarianceLDC(),
]
_EWC = [EWC(), EWC("empirical"), EWC("batch-mean"), KFAC()]
_OTHERS = [MAS(), LeadingHessian(), LeadingFisher(), RandomDirections(), L2()]

COMPARED: Mapping[str, Method] = {method.key: method for method in (*_LDC, *PSI_METHODS.values(), *_EWC, *_OTHERS)}
"""All methods that the experiments compare, by key."""


def method_label(key: str) -> str:
    """Label of a key of :data:`COMPARED` or :data:`UNPROTECTED`, for tables and figures."""
    return COMPARED[key].label if key in COMPARED else UNPROTECTED[key]
