"""How well a user's model does every task after every task, and what this says of forgetting and cost."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from jaxtyping import Float, Int
from torch import Tensor

from landscope.memory.report import transfer
from landscope.results import Result, register_picture

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["TaskMatrix"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TaskMatrix(
    Result,
    kind="task_matrix",
    dims={"values": ("after", "task"), "seconds": ("after",), "n_stored": ("after",)},
):
    """Values of all tasks, each learnt after the other.

    Args:
        tasks: Names of the tasks, in the order of learning.
        values: What was measured of each task after each task, in the unit of the evaluation; NaN where nobody
            measured it then. Tasks that are not learnt yet have a column and no row.
        higher_is_better: Whether a higher value is better, as of an accuracy.
        seconds: Time in the training of each task and in its consolidation.
        n_stored: Numbers stored for all tasks so far.
        dim: Number of weights of the model that can be trained.

    Example:
        >>> import torch
        >>> matrix = TaskMatrix(
        ...     tasks=("a", "b"), values=torch.tensor([[0.875, 0.125], [0.5, 0.75]]), higher_is_better=True,
        ...     seconds=torch.ones(2).double(), n_stored=torch.tensor([10, 20]), dim=5,
        ... )
        >>> matrix.average, matrix.forgetting, matrix.backward_transfer
        (0.625, 0.375, -0.375)
        >>> matrix.most_forgotten
        ('a', 0.375)
        >>> matrix.old_and_new, matrix.stored_over_weights
        ((0.5, 0.75), 4.0)
    """

    tasks: tuple[str, ...]
    values: Float[Tensor, "after tasks"]
    higher_is_better: bool
    seconds: Float[Tensor, " after"]
    n_stored: Int[Tensor, " after"]
    dim: int

    @property
    def error(self) -> Float[Tensor, "after tasks"]:
        """The values where lower is better, and their negatives otherwise."""
        return -self.values if self.higher_is_better else self.values

    @property
    def average(self) -> float:
        """Mean value, after the last task, of the tasks learnt so far."""
        return transfer.average_error(self.values)

    @property
    def forgetting(self) -> float:
        """Mean loss of each task from its best value, without the last task (Chaudhry et al. 2018); above 0: worse."""
        return transfer.forgetting(self.error)

    @property
    def most_forgotten(self) -> tuple[str, float] | None:
        """The earlier task whose value fell most from its best, and by how much; None where none is known to have."""
        lost = transfer.forgetting_of_each(self.error).nan_to_num(nan=0.0)
        place = int(lost.argmax()) if len(lost) else 0
        return (self.tasks[place], float(lost[place])) if len(lost) and lost[place] > 0 else None

    @property
    def backward_transfer(self) -> float:
        """Mean gain of each task since it was learnt, without the last (Lopez-Paz & Ranzato 2017); below 0: worse."""
        return transfer.backward_transfer(self.error)

    @property
    def old_and_new(self) -> tuple[float, float]:
        """Mean value of the earlier tasks at the end, and the value of the last task; NaN before a second task."""
        last = len(self.values) - 1
        return float(self.values[-1, :last].mean()), float(self.values[-1, last])

    @property
    def stored_over_weights(self) -> float:
        """Numbers stored at the end, over the number of weights."""
        return float(self.n_stored[-1]) / self.dim


def _drawn(matrix: TaskMatrix) -> go.Figure:
    from landscope.memory.report.figures import values_after_tasks  # plotly is loaded where a figure is drawn

    return values_after_tasks(matrix)


register_picture(TaskMatrix.kind, _drawn)
