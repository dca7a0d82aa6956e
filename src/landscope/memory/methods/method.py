"""What every method that keeps a task has."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

from torch import Tensor, nn

from landscope.memory.methods.accumulate import accumulate
from landscope.memory.methods.snapshot import TaskSnapshot
from landscope.parameters import ParameterSpace
from landscope.protocols import Penalty

__all__ = ["Method"]


@dataclasses.dataclass(frozen=True)
class Method(abc.ABC):
    """A method that keeps a task. Subclasses are frozen dataclasses whose fields are the options of the method."""

    name: ClassVar[str]
    """The string that stands for the method with its default options."""
    needs_recording: ClassVar[bool] = False
    """Whether the method needs the recorded weights of the task."""

    unit_of_rise: ClassVar[float | None] = None
    """The strength at which the penalty predicts the rise of ln L; None where it predicts none."""

    follows_outputs: ClassVar[bool] = False
    """Whether the strength follows how far the outputs move, where nothing is said."""

    @property
    def default_strength(self) -> float | None:
        """Default lambda; None where a strength must be given."""
        return None

    def check(self, model: nn.Module, space: ParameterSpace) -> None:  # noqa: B027 - most methods work for every layer
        """Raise where the method does not work for the layers of ``model`` whose weights ``space`` selects."""

    @abc.abstractmethod
    def penalty(self, task: TaskSnapshot, count: int) -> Penalty:
        """Make the penalty of a finished task, at strength 1.

        Args:
            task: Snapshot of the finished task.
            count: Number of directions to hold, see :meth:`n_directions`, or of single weights (0 for all).
        """

    def added(self, earlier: Penalty | None, latest: Penalty, rank: int | None, w1: Tensor) -> Penalty:  # noqa: ARG002
        """The penalty of all tasks.

        Args:
            earlier: Penalty of the earlier tasks; None at the first task.
            latest: Penalty of the latest task.
            rank: Number of directions to merge both to; None to keep all.
            w1: Weights ``[N]`` at the end of the latest task.
        """
        return accumulate(earlier, latest, rank)

    def n_directions(self, task: TaskSnapshot, n_modes: int) -> int:
        """Number of directions to hold: ``n_modes``, or fewer where the weights of ``task`` moved along fewer."""
        return min(n_modes, task.modes.n_moving) if self.needs_recording else 0

    def predicted_rise(self, value: float, ratio: float) -> float:  # noqa: ARG002 - of the basin
        """The rise of ln L that the penalty predicts.

        Args:
            value: The penalty, at the strength :attr:`unit_of_rise`.
            ratio: Loss at the edge of the valley over that at its bottom.
        """
        return value

    def settings(self) -> dict[str, Any]:
        """Name and options, as plain values for a checkpoint."""
        return {"name": self.name, **dataclasses.asdict(self)}
