"""A finished task: its loss, its recorded weights, and the modes and flatness found from them when needed."""

from __future__ import annotations

import dataclasses
import functools
import glob
import math
import time
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from landscope.directions.directions import Directions
from landscope.directions.principal import principal_modes
from landscope.errors import InputError
from landscope.landscape import flatness
from landscope.landscape.flatness import Flatness, joined
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
        learnt: Whether the training error was zero when the recorded window began.
        seed: Seed of random directions.
        ratio: Loss at the edges of a valley over the loss at w1, where flatness is measured.
    """

    def __init__(
        self,
        risk: EmpiricalRisk,
        trajectory: Trajectory,
        n_modes: int | None = None,
        *,
        learnt: bool = True,
        seed: int = 0,
        ratio: float = math.e,
    ) -> None:
        self.risk, self.trajectory, self.learnt, self._n_modes = risk, trajectory, learnt, n_modes
        self.w1, self.seed, self.ratio = risk.w0, seed, ratio
        self.modes_seconds = self.flatness_seconds = 0.0
        """Seconds to find the modes, and to measure the flatness of one of them."""
        self._parts: list[Flatness] = []

    @functools.cached_property
    def modes(self) -> Directions:
        """Principal modes of the recorded weights."""
        available = min(len(self.trajectory) - 1, self.trajectory.dim)
        begun = time.perf_counter()
        modes = principal_modes(self.trajectory, min(self._n_modes or available, available))
        self.modes_seconds = time.perf_counter() - begun
        if modes.n_moving == 0:
            raise InputError(
                expected="recorded weights that move", got=f"{len(self.trajectory)} identical rows",
                hint="Check the learning rate, and whether the training stopped or diverged.",
            )  # fmt: skip
        return modes

    def flatness(self, n_modes: int) -> Flatness:
        """Flatness of the first modes; each is measured once."""
        done = sum(len(part.width) for part in self._parts)
        if done < n_modes:
            begun = time.perf_counter()
            self._parts.append(self.flatness_along(list(range(done, n_modes))))
            self.flatness_seconds = (time.perf_counter() - begun) / (n_modes - done)
        known = joined(self._parts)
        return known if len(known.width) == n_modes else _first(known, n_modes)

    def flatness_along(self, modes: Sequence[int]) -> Flatness:
        """Flatness of some modes, counted from 0; measured anew."""
        return self.flatness_of(self.modes.directions[list(modes)])

    def flatness_of(self, directions: Tensor) -> Flatness:
        """Flatness along any directions."""
        return flatness(self.risk, self.w1, directions.to(self.w1), ratio=self.ratio)

    def widths(self, measured: Flatness) -> Float[Tensor, " k"]:
        """Flatness at e times the loss, where ln L is quadratic: F_ratio / sqrt(ln ratio)."""
        return measured.width / math.sqrt(math.log(self.ratio))

    @property
    def space(self) -> ParameterSpace:
        """The selected weights."""
        return self.risk.space

    def layers(self) -> list[LayerSnapshot]:
        """The same task, layer by layer."""
        layers = dict.fromkeys(name.rpartition(".")[0] for name in self.space.names)
        return [
            LayerSnapshot(self, [name for name in self.space.names if name.rpartition(".")[0] == layer])
            for layer in layers
        ]


class LayerSnapshot(TaskSnapshot):
    """One layer of a finished task: modes of its weights alone, the loss along them with all other weights at rest.

    Args:
        whole: The task.
        names: Names of the parameters of the layer.
    """

    def __init__(self, whole: TaskSnapshot, names: Sequence[str]) -> None:
        part = whole.trajectory.of_parameters([glob.escape(name) for name in names])
        super().__init__(whole.risk, part, whole._n_modes, learnt=whole.learnt, seed=whole.seed, ratio=whole.ratio)
        self.columns, self._whole = whole.space.columns(names), whole
        self.w1 = whole.w1[self.columns.to(whole.w1.device)]

    @property
    def space(self) -> ParameterSpace:
        """The parameters of the layer."""
        assert self.trajectory.space is not None  # noqa: S101 - of_parameters() needs one
        return self.trajectory.space

    def flatness_of(self, directions: Tensor) -> Flatness:
        """Flatness along directions of the layer."""
        everywhere = directions.new_zeros(len(directions), len(self._whole.w1))
        everywhere[:, self.columns] = directions
        return self._whole.flatness_of(everywhere)


def _first(known: Flatness, count: int) -> Flatness:
    tensors = {name: getattr(known, name)[:count] for name in Flatness.dims}
    return dataclasses.replace(known, **tensors)
