"""The report of a memory: every task after every task, the line between old and new weights, and a page of both."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from landscope._checks import check_count, check_kind, check_path
from landscope.errors import InputError
from landscope.memory.report.evaluations import Evaluations, evaluated_copy
from landscope.memory.report.rise import Rise
from landscope.memory.report.task_history import TaskHistory
from landscope.memory.report.task_matrix import TaskMatrix
from landscope.memory.report.weight_line import Interpolation, ends_on_line, line_between
from landscope.trajectory.checkpoints import load_checkpoint
from landscope.wording import dash_for_nan

__all__ = ["TaskReport", "report_of"]


@dataclasses.dataclass(frozen=True, repr=False)
class TaskReport:
    """What was measured of a model that learns tasks one after another.

    Args:
        path: The page, one file that works offline.
        matrix: Every task after every task: forgetting, transfer, and cost.
        line: The straight line between the weights at the end of the last finished task and those now; None where they
            are the same, or the former are not known.
        spent: How much of a budget the worst task has spent; "" without a budget.
    """

    path: Path
    matrix: TaskMatrix
    line: Interpolation | None
    spent: str = ""

    def __str__(self) -> str:
        matrix = self.matrix
        width = max(len("after"), *map(len, matrix.tasks)) + 2
        cells = [f"{dash_for_nan(value):>{max(width, 10)}}" for value in matrix.values.flatten().tolist()]
        count = len(matrix.tasks)
        rows = [
            f"{name:<{width}}" + "".join(cells[row * count : (row + 1) * count])
            for row, name in enumerate(matrix.tasks[: len(matrix.values)])
        ]
        head = f"{'after':<{width}}" + "".join(f"{name:>{max(width, 10)}}" for name in matrix.tasks)
        most = "" if matrix.most_forgotten is None else ", most of {}: {:.4g}".format(*matrix.most_forgotten)
        said = [f"forgetting {dash_for_nan(matrix.forgetting)}{most}; page: {self.path}"]
        if self.spent:
            said.append(f"budget: {self.spent}")
        if bool(matrix.values.isnan().any()):
            said.append(
                "–: not measured at the time; memory.report(...) with all tasks after each training measures it; "
                "after a resume pass the old weights: memory.report(..., old=old_state_dict)"
            )
        return "\n".join([head, *rows, *said])

    __repr__ = __str__


def report_of(
    model: nn.Module,
    history: TaskHistory,
    n_tasks: int,
    n_stored: int,
    evaluations: Mapping[str, Any],
    criterion: Callable[..., Any] | None,
    losses: Callable[[nn.Module, Any], Any] | None,
    *,
    loss_options: Mapping[str, Any] | None,
    higher_is_better: bool | None,
    path: str | PathLike[str],
    old: Any,
    others: Mapping[str, TaskMatrix] | None,
    title: str,
    points: int,
    names: Sequence[str],
    rise: Rise | None,
) -> TaskReport:
    """Measure a model now, and at the end of its last finished task where that was not done, and write the page."""
    check_path("the path of the report", path)
    check_kind("title", title, str, hint="Pass the heading of the page as a string.")
    check_count("points", points, minimum=2)
    found = Evaluations.of(evaluations, criterion, losses, higher_is_better, loss_options)
    if n_tasks == 0:
        raise InputError(
            expected="a memory with a finished task", got="none",
            hint="Call memory.consolidate(criterion, data) at the end of a task, or ls.keep(model, criterion, data).",
        )  # fmt: skip
    now, end_state = history.state_of(model), history.last_end
    goes_on = now != end_state
    last = n_tasks if goes_on else n_tasks - 1
    if last >= len(found.names):
        raise InputError(
            expected=f"an evaluation of each of the {last + 1} tasks that were learnt", got=", ".join(found.names),
            hint="Name all tasks, in the order of learning; the one that is learnt now is the last.",
        )  # fmt: skip
    line, latest = None, ()
    if goes_on and (end := _end(model, history, old)) is not None:
        line = line_between(model, end, found.first(last + 1), points)
        latest = line.values[-1].tolist()  # both ends are measured on the line, and not again
        if not history.has(found, end_state):
            earliest = line.values[0].tolist() if ends_on_line(end, model) else ()
            history.note(found, end_state, found.values(evaluated_copy(end), earliest))
    whole = evaluated_copy(model)
    dim = sum(tensor.numel() for tensor in whole.parameters() if tensor.requires_grad)
    history.note(found, now, found.values(whole, latest))
    matrix = history.matrix(found, now, n_stored, dim)
    spent = "" if rise is None else str(_with_names(rise, dict(zip(names, found.names, strict=False))))
    from landscope.memory.report.page import write_report  # plotly is loaded where a page is written

    by_name = {"memory": matrix, **(others or {})}
    return TaskReport(write_report(path, by_name, line, title=title, spent=spent), matrix, line, spent)


def _with_names(rise: Rise, names: Mapping[str, str]) -> Rise:
    """The rise with the names that the report gives the tasks."""
    by_task = {names.get(task, task): value for task, value in rise.by_task.items()}
    return dataclasses.replace(
        rise, task=None if rise.task is None else names.get(rise.task, rise.task), by_task=by_task
    )


def _end(model: nn.Module, history: TaskHistory, old: Any) -> nn.Module | None:
    """The model at the end of the last finished task."""
    if old is None:
        return history.end_of(model)
    whole = evaluated_copy(model)
    load_checkpoint(old, whole, " for the old weights")
    return whole
