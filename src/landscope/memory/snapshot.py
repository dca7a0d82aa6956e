"""What is known at the end of a task: its risk, its window, and what is measured on them when it is asked for."""

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
from landscope.directions.hessian_eigenvectors import hessian_eigenvectors
from landscope.directions.principal import principal_modes
from landscope.errors import InputError
from landscope.landscape import flatness
from landscope.landscape.flatness import Flatness, joined
from landscope.parameters import ParameterSpace
from landscope.protocols import LossLandscape
from landscope.risk.empirical import EmpiricalRisk
from landscope.risk.fisher import FisherInformation
from landscope.trajectory import Trajectory

__all__ = ["FinishedTask", "LayerOfTask"]


class FinishedTask:
    """A task that was learnt.

    Args:
        risk: Its loss.
        trajectory: Its last window.
        n_modes: How many modes may be asked for; all by default.
        learnt: Whether the training error was zero when the window began.
        seed: Of what is drawn for it.
        ratio: The loss at the edges of its valley over that at w1.
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
        """What the modes took, and the flatness of one of them."""
        self._parts: list[Flatness] = []
        self._bases: dict[tuple[str, int], Directions] = {}

    @functools.cached_property
    def modes(self) -> Directions:
        """Principal modes of the window."""
        available = min(len(self.trajectory) - 1, self.trajectory.dim)
        begun = time.perf_counter()
        found = principal_modes(self.trajectory, min(self._n_modes or available, available))
        self.modes_seconds = time.perf_counter() - begun
        if found.n_moving == 0:
            raise InputError(
                expected="recorded weights that move", got=f"{len(self.trajectory)} rows that are the same",
                hint="Look at the learning rate, and whether the training came to a halt or diverged.",
            )  # fmt: skip
        return found

    def flatness(self, n_modes: int) -> Flatness:
        """F of the first modes; each is measured once."""
        done = sum(len(part.width) for part in self._parts)
        if done < n_modes:
            begun = time.perf_counter()
            self._parts.append(self.flatness_along(list(range(done, n_modes))))
            self.flatness_seconds = (time.perf_counter() - begun) / (n_modes - done)
        known = joined(self._parts)
        return known if len(known.width) == n_modes else _first(known, n_modes)

    def flatness_along(self, modes: Sequence[int]) -> Flatness:
        """F of some modes, counted from 0; measured anew."""
        return self.flatness_of(self.modes.directions[list(modes)])

    def flatness_of(self, directions: Tensor) -> Flatness:
        """F along any directions."""
        return flatness(self.risk, self.w1, directions.to(self.w1), ratio=self.ratio)

    def widths(self, found: Flatness) -> Float[Tensor, " k"]:
        """F at e times the loss, of a ln L that goes on as it does up to the ratio: F_ratio / sqrt(ln ratio)."""
        return found.width / math.sqrt(math.log(self.ratio))

    @property
    def space(self) -> ParameterSpace:
        """Which weights it is on."""
        return self.risk.space

    def layers(self) -> list[LayerOfTask]:
        """The same task, layer by layer."""
        homes = dict.fromkeys(name.rpartition(".")[0] for name in self.space.names)
        return [
            LayerOfTask(self, [name for name in self.space.names if name.rpartition(".")[0] == home]) for home in homes
        ]

    def hessian(self, n_modes: int) -> Directions:
        """Leading eigenvectors of the Hessian."""
        return self._leading("hessian", n_modes, self.risk)

    def leading_fisher(self, n_modes: int) -> Directions:
        """Leading eigenvectors of the Fisher information."""
        return self._leading("fisher", n_modes, _Products(self.risk.fisher_information()))

    def _leading(self, name: str, n_modes: int, landscape: LossLandscape) -> Directions:
        if (name, n_modes) not in self._bases:
            self._bases[name, n_modes] = hessian_eigenvectors(landscape, self.w1, n_modes)
        return self._bases[name, n_modes]


class LayerOfTask(FinishedTask):
    """A task as one layer saw it: modes of its weights alone, the loss along them with all others at rest.

    Args:
        whole: The task.
        names: Parameters of the layer.
    """

    def __init__(self, whole: FinishedTask, names: Sequence[str]) -> None:
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
        """F along directions of the layer."""
        everywhere = directions.new_zeros(len(directions), len(self._whole.w1))
        everywhere[:, self.columns] = directions
        return self._whole.flatness_of(everywhere)


@dataclasses.dataclass(frozen=True)
class _Products:
    """The Fisher information in the place of a Hessian."""

    fisher: FisherInformation

    def __call__(self, w: Tensor) -> Tensor:
        raise NotImplementedError

    def hessian_vector_product(self, w: Tensor, vector: Tensor) -> Tensor:
        return self.fisher.product(w, vector)


def _first(known: Flatness, count: int) -> Flatness:
    tensors = {name: getattr(known, name)[:count] for name in Flatness.dims}
    return dataclasses.replace(known, **tensors)
