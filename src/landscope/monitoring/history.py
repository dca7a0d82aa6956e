"""What a monitor measured, as a result."""

from __future__ import annotations

import array
import dataclasses
import math
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from landscope.errors import InputError
from landscope.results import Result

__all__ = ["MonitorHistory", "Numbers"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MonitorHistory(Result, kind="monitor_history", dims={"steps": ("point",), "values": ("point", "quantity")}):
    """What a :class:`landscope.Monitor` measured during a training.

    Args:
        steps: Steps at which something was measured, ascending, ``[points]``.
        names: Names of the quantities, such as ``"loss"`` or ``"drift/layer1.conv"``.
        values: Their values, ``[points, quantities]``; NaN where a quantity was not measured at a step.
        training_seconds: Time of the training without that of measurements.
        measuring_seconds: Time of the measurements.
        budget: The share of the training time that they might take; NaN where ``every=`` chose the steps.
    """

    steps: Int[Tensor, " points"]
    names: tuple[str, ...]
    values: Float[Tensor, "points quantities"]
    training_seconds: float
    measuring_seconds: float
    budget: float

    @property
    def share(self) -> float:
        """Share of the training time that the measurements took."""
        return self.measuring_seconds / self.training_seconds if self.training_seconds else 0.0

    def curve(self, name: str) -> tuple[Int[Tensor, " m"], Float[Tensor, " m"]]:
        """The steps at which a quantity was measured, and its values.

        Args:
            name: The quantity, one of ``names``.

        Raises:
            InputError: If there is none of this name.

        Example:
            >>> nan = float("nan")
            >>> history = MonitorHistory(
            ...     steps=torch.tensor([1, 2]), names=("loss", "sharpness"),
            ...     values=torch.tensor([[2.0, nan], [1.0, 8.0]]).double(),
            ...     training_seconds=10.0, measuring_seconds=0.5, budget=0.05,
            ... )
            >>> history.curve("sharpness"), history.share
            ((tensor([2]), tensor([8.], dtype=torch.float64)), 0.05)
        """
        if not self.names:
            raise InputError(
                expected="a history with measurements",
                got="an empty one",
                hint="Train inside the with block, for more steps, with a larger budget or a smaller every=.",
            )
        if name not in self.names:
            raise InputError(
                expected=f"one of {', '.join(self.names)}", got=repr(name), hint="Pass a name that was measured."
            )
        column = self.values[:, self.names.index(name)]
        known = ~torch.isnan(column)
        return self.steps[known], column[known]


class Numbers:
    """The measured numbers as they come: 24 bytes each."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self._steps, self._columns, self._values = array.array("q"), array.array("q"), array.array("d")

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values of a step; steps do not descend."""
        for name, value in values.items():
            self._steps.append(step)
            self._columns.append(self.names.setdefault(name, len(self.names)))
            self._values.append(value)

    def add_history(self, history: MonitorHistory, before: int) -> None:
        """Take the values of an earlier history, up to a step that is taken again."""
        for step, row in zip(history.steps.tolist(), history.values.tolist(), strict=True):
            if step < before:
                named = zip(history.names, row, strict=True)
                self.add(step, {name: value for name, value in named if not math.isnan(value)})

    def table(self) -> tuple[Int[Tensor, " points"], Float[Tensor, "points quantities"]]:
        """The steps, and the values at each; NaN where there is none."""
        if not self._steps:
            return torch.zeros(0, dtype=torch.long), torch.zeros(0, 0, dtype=torch.float64)
        at = torch.tensor(self._steps)
        steps, rows = at.unique_consecutive(return_inverse=True)
        values = torch.full((len(steps), len(self.names)), torch.nan, dtype=torch.float64)
        values[rows, torch.tensor(self._columns)] = torch.tensor(self._values, dtype=torch.float64)
        return steps, values
