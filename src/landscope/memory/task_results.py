"""How well a user's model does every task after every task: the matrix, and what it says of forgetting and cost."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from landscope._checks import check_count, check_kind
from landscope.errors import InputError
from landscope.memory import transfer
from landscope.memory.evaluations import Evaluations, evaluated_copy
from landscope.results import Result, register_picture, stamp

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["TaskMatrix", "TaskResults"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TaskMatrix(
    Result,
    kind="task_matrix",
    dims={"values": ("after", "task"), "seconds": ("after",), "n_stored": ("after",)},
):
    """Values of all tasks, each learnt after the other.

    Args:
        tasks: Names of the tasks, in the order of learning.
        values: What was measured of each task after each task, in the unit of the evaluation. Tasks that are not learnt
            yet have a column and no row.
        higher_is_better: Whether a higher value is better, as of an accuracy.
        seconds: Time from the measurement before, or from the making of the recorder, to each measurement.
        n_stored: Numbers stored for all tasks so far.
        dim: Number of weights of the model that can be trained.

    Example:
        >>> matrix = TaskMatrix(
        ...     tasks=("a", "b"), values=torch.tensor([[0.875, 0.125], [0.5, 0.75]]), higher_is_better=True,
        ...     seconds=torch.ones(2).double(), n_stored=torch.tensor([10, 20]), dim=5,
        ... )
        >>> matrix.average, matrix.forgetting, matrix.backward_transfer
        (0.625, 0.375, -0.375)
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
    from landscope.memory.figures import values_after_tasks  # plotly is loaded where a figure is drawn

    return values_after_tasks(matrix)


register_picture(TaskMatrix.kind, _drawn)


class TaskResults:
    """Measures a model on every task after each task.

    The functions are called with a copy of the model, in eval mode and without gradients, so neither the model nor its
    mode nor the random state changes.

    Args:
        evaluations: ``function(model)`` that gives a number, by the name of the task, in the order in which the tasks
            are learnt; with a criterion or ``losses``, the data of each task instead, whose mean loss is taken.
        criterion: ``criterion(outputs, targets)``, see :class:`landscope.EmpiricalRisk`.
        losses: ``losses(model, batch)`` in place of a criterion.
        higher_is_better: Whether a higher number is better. Functions need it: True for accuracies, False for losses.
        resume: The matrix of an earlier recorder of the same tasks, to go on from.

    Raises:
        InputError: If the evaluations do not fit, or it is not said which way is better.

    Example:
        >>> import landscope as ls, torch
        >>> x = torch.tensor([[1.0], [-1.0]])
        >>> def share(sign):
        ...     return lambda model: (model(x).sign() == sign * x).double().mean()
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> results = ls.memory.TaskResults({"same": share(1), "opposite": share(-1)}, higher_is_better=True)
        >>> for weight in (1.0, -1.0):  # in place of the training of a task
        ...     _ = model.weight.data.fill_(weight)
        ...     found = results.measure(model)
        >>> found
        {'same': 0.0, 'opposite': 1.0}
        >>> results.matrix.forgetting
        1.0
    """

    def __init__(
        self,
        evaluations: Mapping[str, Any],
        criterion: Callable[..., Any] | None = None,
        *,
        losses: Callable[[nn.Module, Any], Any] | None = None,
        higher_is_better: bool | None = None,
        resume: TaskMatrix | None = None,
    ) -> None:
        self._evaluations = Evaluations.of(evaluations, criterion, losses, higher_is_better)
        self._rows: list[tuple[Tensor, float, int]] = []
        self._dim = 0
        if resume is not None:
            self._resume(check_kind("resume", resume, TaskMatrix, hint="Pass results.matrix of the earlier recorder."))
        self._since = time.perf_counter()

    def measure(self, model: nn.Module, *, n_stored: int = 0) -> dict[str, float]:
        """Measure all tasks now that the next task has been learnt.

        Args:
            model: The model.
            n_stored: Numbers stored for the tasks so far, such as ``memory.n_stored``.

        Returns:
            The value of each task.

        Raises:
            InputError: If all tasks were measured already, or a function gives no single number.
        """
        seconds = time.perf_counter() - self._since
        check_count("n_stored", n_stored, minimum=0)
        names = self._evaluations.names
        if len(self._rows) == len(names):
            raise InputError(
                expected=f"one measurement after each of the {len(names)} tasks", got="one more",
                hint="Name every task in the evaluations, and measure once after each.",
            )  # fmt: skip
        whole = evaluated_copy(model)
        values = self._evaluations.values(whole)
        self._dim = sum(tensor.numel() for tensor in whole.parameters() if tensor.requires_grad)
        self._rows.append((values, seconds, n_stored))
        self._since = time.perf_counter()
        return dict(zip(names, values.tolist(), strict=True))

    @property
    def matrix(self) -> TaskMatrix:
        """What was measured so far; :func:`landscope.save` saves it.

        Raises:
            InputError: If nothing was measured.
        """
        if not self._rows:
            raise InputError(
                expected="at least one measurement", got="none", hint="Call measure(model) after each task.",
            )  # fmt: skip
        values, seconds, n_stored = zip(*self._rows, strict=True)
        return TaskMatrix(
            tasks=self._evaluations.names,
            values=torch.stack(values),
            higher_is_better=self._evaluations.higher_is_better,
            seconds=torch.tensor(seconds, dtype=torch.float64),
            n_stored=torch.tensor(n_stored, dtype=torch.int64),
            dim=self._dim,
            provenance=stamp(),
        )

    def _resume(self, matrix: TaskMatrix) -> None:
        ours = (self._evaluations.names, self._evaluations.higher_is_better)
        if ours != (tuple(matrix.tasks), matrix.higher_is_better):
            raise InputError(
                expected=f"a matrix of the tasks {', '.join(ours[0])}, higher_is_better={ours[1]}",
                got=f"one of {', '.join(matrix.tasks)}, higher_is_better={matrix.higher_is_better}",
                hint="Pass the evaluations of the earlier recorder, in the same order.",
            )
        self._rows = list(zip(matrix.values, matrix.seconds.tolist(), matrix.n_stored.tolist(), strict=True))
        self._dim = matrix.dim
