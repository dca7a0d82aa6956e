"""The paper's landscape-dependent constraints as a method."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from landscope._checks import check_choice, check_kind, check_positive
from landscope.errors import InputError
from landscope.memory.methods.inverted import widths_to_hold_by
from landscope.memory.methods.method import Method
from landscope.memory.methods.snapshot import TaskSnapshot
from landscope.penalties.compression.factored import factored_penalty
from landscope.penalties.ldc import flatness_from_variance, landscape_dependent_constraint
from landscope.protocols import Penalty

__all__ = ["LDC", "measured_ranks"]

_MEASURED_RANKS = (2, 5, 10, 20, 50, 100, 200)
"""Modes whose measured flatness sets the scale where the flatness comes from the variance."""


FlatnessSource = Literal["measured", "variance"]


@dataclasses.dataclass(frozen=True)
class LDC(Method):
    """Landscape-dependent constraints: hold the principal modes of the recorded weights (paper, Eq. 14).

    Args:
        flatness: Source of the flatness F of every mode: ``"measured"`` along all modes, or ``"variance"``, from the
            variance-flatness relation, with a few measured modes for the scale.
        psi: Exponent of the variance-flatness relation; only for ``flatness="variance"``.
        floor: Whether all other directions are held as stiffly as the flattest held mode. The paper has no floor.
            True by default; a factored penalty has none.
        factored: Store one Kronecker product a layer instead of all directions.

    Raises:
        InputError: If an option is unknown, or ``floor`` and ``factored`` are both asked for.

    Example:
        >>> LDC().floor, LDC(factored=True).floor, LDC(floor=False).default_strength
        (True, False, 10.0)
    """

    flatness: FlatnessSource = "measured"
    psi: float = 4.0
    floor: bool | None = None
    factored: bool = False

    name: ClassVar[str] = "ldc"
    needs_recording: ClassVar[bool] = True
    unit_of_rise: ClassVar[float | None] = 4.0

    def __post_init__(self) -> None:
        check_choice("flatness", self.flatness, get_args(FlatnessSource))
        check_positive("psi", self.psi)
        check_kind("factored", self.factored, bool, hint="Pass True or False.")
        if self.floor is None:
            object.__setattr__(self, "floor", not self.factored)
        check_kind("floor", self.floor, bool, hint="Pass True or False.")
        if self.floor and self.factored:
            raise InputError(
                expected="no floor with factored=True", got="floor=True",
                hint="Leave floor out: a factored penalty already spreads its stiffness over all directions.",
            )  # fmt: skip
        if self.flatness == "measured" and self.psi != LDC.psi:
            raise InputError(
                expected='flatness="variance" with psi', got='flatness="measured"',
                hint="Leave psi out, or take the flatness from the variance.",
            )  # fmt: skip

    @property
    def default_strength(self) -> float:
        """4, where V is about the rise of ln L; 10 without a floor, as in the paper."""
        return 4.0 if self.floor or self.factored else 10.0

    def penalty(self, task: TaskSnapshot, count: int) -> Penalty:
        """The constraints along the first ``count`` modes of the snapshot ``task``."""
        if self.flatness == "measured":
            widths = task.widths(count)
            _check_reached(widths, task.ratio)
            widths = widths_to_hold_by(widths)
        else:
            ranks = measured_ranks(count)
            measured = task.widths_along(task.modes.directions[[rank - 1 for rank in ranks]])
            _check_reached(measured, task.ratio)
            widths = flatness_from_variance(task.modes.variance[:count], self.psi, measured, ranks)
        constraint = landscape_dependent_constraint(
            task.w1, task.modes, widths, n_modes=count, floor="last-mode" if self.floor else "none", strength=1.0
        )
        return factored_penalty(constraint, task.space) if self.factored else constraint


def _check_reached(widths: Tensor, ratio: float) -> None:
    """Raise where the loss reaches the edges of the valley along no mode."""
    if bool(torch.isnan(widths).all()):
        raise InputError(
            expected=f"a loss that rises to {ratio:.3g} times its value along at least one mode",
            got="none within reach",
            hint="Make the memory with a lower ratio, such as TaskMemory(..., ratio=1.1): a large loss, as at the "
            "start of a training or of a language model, cannot rise by e.",
        )


def measured_ranks(n_modes: int) -> list[int]:
    """The modes whose flatness sets the scale; the drift mode only where no other mode moved."""
    return [rank for rank in _MEASURED_RANKS if rank <= n_modes] or [1]
