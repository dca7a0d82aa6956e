"""A finished task: its loss, its recorded weights, and the modes and flatness found from them when needed."""

from __future__ import annotations

import functools
import glob
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.directions.directions import Directions
from landscope.directions.principal import principal_modes
from landscope.errors import InputError
from landscope.landscape import flatness
from landscope.parameters import ParameterSpace
from landscope.risk.empirical import EmpiricalRisk
from landscope.trajectory import Trajectory

__all__ = ["LayerSnapshot", "TaskSnapshot"]


class TaskSnapshot:
    """A finished task.

    Args:
        risk: Loss of the task, at the weights at its end.
        trajectory: The last recorded weights of the task.
        n_modes: Largest number of modes to find; all by default.
        seed: Seed of random directions.
        ratio: Loss at the edges of a valley over the loss at w1, where flatness is measured.
    """

    def __init__(
        self,
        risk: EmpiricalRisk,
        trajectory: Trajectory,
        n_modes: int | None = None,
        *,
        seed: int = 0,
        ratio: float = math.e,
    ) -> None:
        self.risk, self.trajectory, self._n_modes = risk, trajectory, n_modes
        self.w1, self.seed, self.ratio = risk.w0, seed, ratio
        self._widths = torch.empty(0, dtype=torch.float64)

    @functools.cached_property
    def modes(self) -> Directions:
        """Principal modes of the recorded weights."""
        available = min(len(self.trajectory) - 1, self.trajectory.dim)
        modes = principal_modes(self.trajectory, min(self._n_modes or available, available))
        if modes.n_moving == 0:
            raise InputError(
                expected="recorded weights that move", got=f"{len(self.trajectory)} identical rows",
                hint="Check the learning rate, and whether the training stopped or diverged.",
            )  # fmt: skip
        return modes

    def widths(self, n_modes: int) -> Float[Tensor, " k"]:
        """Flatness of the first modes; each is measured once."""
        if (done := len(self._widths)) < n_modes:
            self._widths = torch.cat([self._widths, self.widths_along(self.modes.directions[done:n_modes])])
        return self._widths[:n_modes]

    def widths_along(self, directions: Float[Tensor, "k N"]) -> Float[Tensor, " k"]:
        """Flatness along any directions at e times the loss, where ln L is quadratic: F_ratio / sqrt(ln ratio)."""
        measured = flatness(self.risk, self.w1, directions.to(self.w1), ratio=self.ratio)
        return measured.width / math.sqrt(math.log(self.ratio))

    @property
    def space(self) -> ParameterSpace:
        """The selected weights."""
        return self.risk.space

    def layers(self) -> list[LayerSnapshot]:
        """The same task, layer by layer."""
        return [LayerSnapshot(self, names) for names in self.space.layers.values()]


class LayerSnapshot(TaskSnapshot):
    """One layer of a finished task: modes of its weights alone, the loss along them with all other weights at rest.

    Args:
        whole: The task.
        names: Names of the parameters of the layer.
    """

    def __init__(self, whole: TaskSnapshot, names: Sequence[str]) -> None:
        part = whole.trajectory.of_parameters([glob.escape(name) for name in names])
        super().__init__(whole.risk, part, whole._n_modes, seed=whole.seed, ratio=whole.ratio)
        self.columns, self._whole = whole.space.columns(names), whole
        self.w1 = whole.w1[self.columns.to(whole.w1.device)]

    @property
    def space(self) -> ParameterSpace:
        """The parameters of the layer."""
        assert self.trajectory.space is not None  # noqa: S101 - of_parameters() needs one
        return self.trajectory.space

    def widths_along(self, directions: Float[Tensor, "k n"]) -> Float[Tensor, " k"]:
        """Flatness along directions of the layer."""
        everywhere = directions.new_zeros(len(directions), len(self._whole.w1))
        everywhere[:, self.columns] = directions
        return self._whole.widths_along(everywhere)
