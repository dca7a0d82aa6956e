"""Figures of what is kept of tasks: the matrix, its curves, old tasks against the new one, and the line of weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
import torch
from jaxtyping import Float
from torch import Tensor

from landscope.memory.report.task_matrix import TaskMatrix
from landscope.memory.report.transfer import is_on_frontier
from landscope.memory.report.weight_line import Interpolation
from landscope.plots.style import MANY_COLORS, NULL, WALK, add_line, new_figure, numbers
from landscope.wording import dash_for_nan

__all__ = ["interpolation_curve", "old_against_new", "values_after_tasks", "values_over_tasks"]


def values_after_tasks(matrix: TaskMatrix) -> go.Figure:
    """A heat map of the value of each task (columns) after each task (rows)."""
    figure = new_figure("task", "after task")
    values, names = numbers(matrix.values), list(matrix.tasks)
    known = matrix.values[~matrix.values.isnan()]
    is_log = not matrix.higher_is_better and bool((known > 0).all())  # losses of old tasks differ by factors
    figure.add_heatmap(
        x=names, y=names[: len(values)], z=numbers(matrix.values.log10()) if is_log else values,
        text=[[dash_for_nan(value) for value in row] for row in matrix.values.tolist()],
        texttemplate="%{text}", hovertemplate="task %{x}<br>after %{y}<br>%{text}<extra></extra>",
        colorscale="Viridis", reversescale=not matrix.higher_is_better,
        colorbar={"thickness": 12, "title": "log10" if is_log else None},
    )  # fmt: skip
    figure.update_xaxes(type="category")
    figure.update_yaxes(type="category", autorange="reversed")
    return figure


def values_over_tasks(matrix: TaskMatrix) -> go.Figure:
    """The value of each task over the tasks, from the one in which it was learnt."""
    figure = new_figure("after task", "value")
    names = np.array(matrix.tasks)
    for task, name in enumerate(matrix.tasks[: len(matrix.values)]):
        values = numbers(matrix.values[task:, task])
        color = MANY_COLORS[task % len(MANY_COLORS)]
        figure.add_scatter(
            x=names[task : len(matrix.values)], y=values, name=f"task {name}", mode="lines+markers",
            line={"color": color, "width": 1.6}, marker={"color": color, "size": 6},
        )  # fmt: skip
    figure.update_xaxes(type="category")
    return figure


def interpolation_curve(line: Interpolation) -> go.Figure:
    """Every evaluation, and their mean, along the straight line from old to new weights."""
    figure = new_figure("share a of the new weights", "value")
    share = numbers(line.share)
    for place, name in enumerate(line.names):
        add_line(figure, share, numbers(line.values[:, place]), name, MANY_COLORS[place % len(MANY_COLORS)], width=1.6)
    if len(line.names) > 1:
        add_line(figure, share, numbers(line.mean), "mean", WALK, dash="dash", width=1.6)
    return figure


def old_against_new(matrices: Mapping[str, TaskMatrix], line: Interpolation | None = None) -> go.Figure:
    """Mean value of the earlier tasks against the last task, of each result and along the line of weights.

    The last evaluation of the line counts as the new task. Large points are on the frontier: no other point of the
    figure is as good in both and better in one.
    """
    figure = new_figure("mean of the earlier tasks", "last task")
    places = {name: torch.tensor([matrix.old_and_new], dtype=torch.float64) for name, matrix in matrices.items()}
    if line is not None and len(line.names) > 1:
        places["straight line between the weights"] = torch.stack(
            [line.values[:, :-1].mean(1), line.values[:, -1]], dim=1
        )
    best = _frontier(places, next(iter(matrices.values())).higher_is_better)
    for number, (name, points) in enumerate(places.items()):
        is_line = len(points) > 1
        color = NULL if is_line else MANY_COLORS[number % len(MANY_COLORS)]
        figure.add_scatter(
            x=numbers(points[:, 0]), y=numbers(points[:, 1]), name=name, mode="lines+markers" if is_line else "markers",
            line={"color": color, "width": 1.3}, marker={"color": color, "size": np.where(best[name], 11, 6)},
        )  # fmt: skip
    return figure


def _frontier(places: Mapping[str, Float[Tensor, "points 2"]], higher_is_better: bool) -> dict[str, np.ndarray]:
    """Which points of each name are on the frontier of all of them."""
    points = torch.cat(list(places.values()))
    chosen = is_on_frontier(-points if higher_is_better else points)
    parts = torch.split(chosen, [len(part) for part in places.values()])
    return {name: numbers(part) for name, part in zip(places, parts, strict=True)}
