"""The page of the tasks that a user's model has learnt."""

from __future__ import annotations

import math
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from landscope import plots
from landscope._checks import check_kind, check_path
from landscope.errors import InputError
from landscope.files.atomic import write_text
from landscope.memory.report.figures import interpolation_curve, old_against_new, values_after_tasks, values_over_tasks
from landscope.memory.report.task_matrix import TaskMatrix
from landscope.memory.report.weight_line import Interpolation
from landscope.report.render import render
from landscope.wording import dash_for_nan

__all__ = ["write_report"]

_HEADINGS = (
    "result", "mean of all tasks", "mean of the earlier tasks", "last task", "forgetting", "backward transfer",
    "stored / weights", "seconds",
)  # fmt: skip


def write_report(
    path: str | PathLike[str],
    matrices: TaskMatrix | Mapping[str, TaskMatrix],
    line: Interpolation | None = None,
    *,
    title: str = "Tasks one after another",
    spent: str = "",
) -> Path:
    """Write a page with the matrix of tasks, forgetting, old tasks against the new one, and costs; it works offline.

    Args:
        path: Where to write it, such as ``report.html``.
        matrices: the matrix of a :class:`landscope.memory.TaskReport`, or several by name, such as the same
            tasks learnt with several methods or strengths.
        line: The straight line between the weights before and after the last task, see
            :func:`landscope.memory.interpolation`; its last evaluation is that of the last task.
        title: Heading of the page.
        spent: How much of its budget the first result has spent, in words.

    Returns:
        The path.

    Raises:
        InputError: If there is no matrix, or they or the line are of other tasks.

    Example:
        >>> import tempfile, torch
        >>> matrix = TaskMatrix(
        ...     tasks=("a", "b"), values=torch.tensor([[0.875, 0.125], [0.5, 0.75]]), higher_is_better=True,
        ...     seconds=torch.ones(2).double(), n_stored=torch.tensor([10, 20]), dim=5,
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_report(Path(folder) / "report.html", {"nothing": matrix}).name
        'report.html'
    """
    target, by_name = check_path("the path of the report", path), _by_name(matrices)
    if line is not None:
        _check_line(check_kind("the line", line, Interpolation, hint="Pass the result of interpolation()."), by_name)
    page = render(
        "tasks.html.j2",
        title=title,
        better="higher" if next(iter(by_name.values())).higher_is_better else "lower",
        headings=_HEADINGS,
        rows=_rows(by_name, line),
        matrices=[(name, *_tables(matrix), *_figures(matrix, number))
                  for number, (name, matrix) in enumerate(by_name.items())],
        forgotten=_forgotten(by_name),
        spent=spent,
        frontier=plots.as_html(old_against_new(by_name, line), "old-against-new"),
        line=None if line is None else plots.as_html(interpolation_curve(line), "interpolation"),
        best="" if line is None else _best_point(line),
        changes=_changes(next(iter(by_name.values()))),
    )  # fmt: skip
    write_text(target, page)
    return target


def _by_name(matrices: TaskMatrix | Mapping[str, TaskMatrix]) -> dict[str, TaskMatrix]:
    by_name = {"memory": matrices} if isinstance(matrices, TaskMatrix) else dict(matrices)
    for matrix in by_name.values():
        check_kind(
            "each result", matrix, TaskMatrix, hint="Pass the matrix of another report: memory.report(...).matrix."
        )
    kinds = {(tuple(matrix.tasks), len(matrix.values), matrix.higher_is_better) for matrix in by_name.values()}
    if len(kinds) != 1:
        raise InputError(
            expected="results of the same tasks, as many of them learnt, with the same way of being better",
            got=f"{len(kinds)} kinds of results" if kinds else "no result", hint="Write one page for each kind.",
        )  # fmt: skip
    return by_name


def _check_line(line: Interpolation, by_name: Mapping[str, TaskMatrix]) -> None:
    first = next(iter(by_name.values()))
    learnt = tuple(first.tasks)[: len(first.values)]
    if tuple(line.names) != learnt or line.higher_is_better != first.higher_is_better:
        raise InputError(
            expected=f"a line with the evaluations {', '.join(learnt)}, higher_is_better={first.higher_is_better}",
            got=f"one with {', '.join(line.names)}, higher_is_better={line.higher_is_better}",
            hint="Pass the evaluations of the tasks that were learnt, in the same order.",
        )


def _rows(by_name: Mapping[str, TaskMatrix], line: Interpolation | None) -> list[list[str]]:
    """One row a result, and one for the best point of the line, which trains nothing and stores the old weights."""
    rows = [
        [name, *_shown(matrix.average, *matrix.old_and_new, matrix.forgetting, matrix.backward_transfer,
                       matrix.stored_over_weights), f"{float(matrix.seconds.sum()):.1f}"]
        for name, matrix in by_name.items()
    ]  # fmt: skip
    if line is not None:
        values = line.values[line.share == line.best][0]
        means = _shown(*(float(value) for value in (values.mean(), values[:-1].mean(), values[-1])))
        rows.append([f"straight line, a = {line.best:.3g}", *means, "–", "–", "1", "–"])
    return rows


def _best_point(line: Interpolation) -> str:
    """Where the best mean of the line is, and what that means."""
    if line.best == 1.0:
        return "The best point of the line is the model itself, so no mixture is better"
    return (
        f"The best mean is at a = {line.best:.3g}. It costs no training, so a method of keeping tasks should do better"
    )


def _changes(matrix: TaskMatrix) -> str:
    """What the last training did to each task, in one sentence; empty before a second task."""
    if len(matrix.values) < 2:
        return ""
    before, after = matrix.values[-2].tolist(), matrix.values[-1].tolist()
    known = [
        (task, *_shown(old, new))
        for task, old, new in zip(matrix.tasks, before, after, strict=True)
        if not math.isnan(old) and not math.isnan(new)
    ]
    if not known:
        return ""
    (task, old, new), *others = known
    first = f"The {'value' if matrix.higher_is_better else 'loss'} on {task} went from {old} to {new}"
    return ", ".join([first, *(f"that on {task} from {old} to {new}" for task, old, new in others)]) + "."


def _forgotten(by_name: Mapping[str, TaskMatrix]) -> str:
    """The worst task of each result: a mean over tasks hides it."""
    named = {name: matrix.most_forgotten for name, matrix in by_name.items()}
    return "; ".join(f"{name}: {most[0]}, by {most[1]:.4g}" for name, most in named.items() if most is not None)


def _tables(matrix: TaskMatrix) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the matrix."""
    cells = zip(
        matrix.tasks, matrix.values.tolist(), matrix.n_stored.tolist(), matrix.seconds.tolist(), strict=False
    )  # tasks that are not learnt yet have no row
    rows = [[name, *_shown(*values), f"{stored:,}", f"{seconds:.1f}"] for name, values, stored, seconds in cells]
    return ["after task", *matrix.tasks, "numbers stored", "seconds"], rows


def _figures(matrix: TaskMatrix, number: int) -> tuple[str, str]:
    return (
        plots.as_html(values_after_tasks(matrix), f"matrix-{number}"),
        plots.as_html(values_over_tasks(matrix), f"curve-{number}"),
    )


def _shown(*values: float) -> list[str]:
    return [dash_for_nan(value) for value in values]
