"""Figures of tasks learnt one after another (paper, Fig. 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from landscope.plots.style import FIT, FRESH, NULL, OWN, PALETTE, add_line, add_points, new_figure, numbers, ranks_of
from landscope.reproduction.figures.fig4_claims import PAPER_BOUND, PAPER_STRENGTH, Protocol
from landscope.reproduction.sequential.ablations import COMPARED, method_of
from landscope.reproduction.sequential.comparison import error_by_count, front
from landscope.reproduction.sequential.sequence import TasksInTurn

__all__ = ["displacements", "error_by_number", "errors_in_turn", "errors_over_steps", "fronts", "late_fronts"]

_COLORS = (*PALETTE, FIT, "#00838f", NULL, "#000", "#ad8b00", "#c2185b")
_SHOWN = (
    "ldc-no-floor",
    "ldc-floor",
    "ldc-variance-factored",
    "kfac",
    "hessian",
    "ewc",
    "ewc-empirical",
    "random",
    "l2",
)
_FLOOR = 0.01
"""Per cent: an error of nothing is drawn here on a logarithmic axis."""


def errors_over_steps(protocols: Sequence[Protocol]) -> go.Figure:
    """Fig. 4A and C: errors of both tasks without constraint, with the paper's, and with a floor."""
    own = protocols[0]
    shown = (
        ("none", math.nan, 0, "nothing", NULL),
        ("ldc-no-floor", PAPER_STRENGTH, own.n_modes, f"LDC, λ = {PAPER_STRENGTH:g}", OWN),
        ("ldc-floor", method_of("ldc-floor").default_strength or 1.0, own.n_modes, "with floor, λ = 4", FRESH),
    )
    figure = new_figure("minibatches of task 2", "test error (%)", log_x=True, log_y=True)
    steps = own.reported[0].step.tolist()[1:]
    for method, strength, n_modes, label, color in shown:
        means = np.mean([numbers(own.at(method, strength, step, n_modes).errors) for step in steps], axis=1)
        for task, dash in ((0, "solid"), (-1, "dot")):
            name = f"task {1 if task == 0 else 2}: {label}"
            add_line(figure, np.array(steps), _drawn(means[:, task]), name, color, width=1.8, dash=dash)
    figure.update_xaxes(dtick="D2")
    return figure


def displacements(protocols: Sequence[Protocol]) -> go.Figure:
    """Fig. 4B and D: how far the weights of the first seed moved along each mode in an epoch."""
    one, step = protocols[0].reported[0], protocols[0].stops[1]
    place = one.step.tolist().index(step)
    figure = new_figure("rank i of the mode of task 1", "displacement", log_x=True, log_y=True)
    for row, number in enumerate(one.moved):
        label, color = ("without constraint", NULL) if one.method[number] == "none" else ("with constraints", OWN)
        q = numbers(one.displacement[row, place])
        add_points(figure, ranks_of(len(q)), q, f"q<sub>i</sub> {label}", color, 4)
    bound = PAPER_BOUND * numbers(one.flatness)
    add_line(figure, ranks_of(len(bound)), bound, f"{PAPER_BOUND:g} F<sub>i</sub>", FIT, dash="dash", width=1.5)
    return figure


def fronts(protocols: Sequence[Protocol]) -> go.Figure:
    """Fig. 4E: the errors of both tasks over strengths, after an epoch; mean over seeds."""
    return _fronts(protocols[0], protocols[0].stops[1])


def late_fronts(protocols: Sequence[Protocol]) -> go.Figure:
    """The same after five epochs."""
    return _fronts(protocols[0], protocols[0].stops[2])


def _fronts(own: Protocol, step: int) -> go.Figure:
    figure = new_figure("test error of task 1 (%)", "test error of task 2 (%)", log_x=True, log_y=True)
    for method, color in zip(_SHOWN, _COLORS, strict=False):
        counts = (own.n_modes, 2 * own.n_modes) if COMPARED[method].takes_modes else (0,)
        points = next(filter(None, (front(method, count, step, own.reported) for count in counts)), [])
        x, y = (_drawn(np.array([errors[task] for _, errors in points])) for task in (0, 1))
        text = [f"λ = {strength:.3g}" for strength, _ in points]
        figure.add_scatter(
            x=x, y=y, text=text, name=COMPARED[method].label, mode="lines+markers",
            line={"color": color, "width": 1.3}, marker={"color": color, "size": 5},
        )  # fmt: skip
    return figure


def error_by_number(protocols: Sequence[Protocol]) -> go.Figure:
    """Fig. 4F: summed error over how many modes, or weights, are held; every seed is a point."""
    own = protocols[0]
    figure = new_figure("number of constraints", "summed test error (%)", log_x=True, log_y=True)
    shown = (
        ("ldc-no-floor", PAPER_STRENGTH, f"LDC, λ = {PAPER_STRENGTH:g}", OWN),
        ("ldc-floor", method_of("ldc-floor").default_strength or 1.0, "with floor, λ = 4", FRESH),
    )
    for method, strength, label, color in shown:
        points = [pair for one in own.reported for pair in error_by_count(one, method, strength, own.stops[1]).items()]
        x, y = np.array([count for count, _ in points]), np.array([error for _, error in points])
        add_points(figure, x, _drawn(y), label, color, 5)
    for count in own.counts("ewc"):
        found = own.best("ewc", own.stops[1], count)
        held = np.full(len(found.summed), count or own.reported[0].dim)
        add_points(figure, held, _drawn(np.array(found.summed)), "EWC, tuned", FIT, 5)
    _name_once(figure)
    figure.update_yaxes(dtick="D2")
    return figure


def _drawn(shares: np.ndarray) -> np.ndarray:
    return np.maximum(100 * shares, _FLOOR)


def _name_once(figure: go.Figure) -> None:
    seen: set[str] = set()
    for trace in figure.data:
        trace.showlegend = trace.name not in seen
        seen.add(trace.name)


def errors_in_turn(found: TasksInTurn) -> go.Figure:
    """Errors of all tasks while each is learnt in turn."""
    figure = new_figure("minibatches", "test error (%)", log_y=True)
    starts = _starts(found)
    steps = numbers(found.watched_step) + starts[numbers(found.watched_task)]
    for task, name in enumerate(found.tasks):
        color = _COLORS[task % len(_COLORS)]
        add_line(figure, steps, _drawn(numbers(found.watched_error[:, task])), f"task {name}", color, width=1.6)
    for number, start in enumerate(starts):
        end = starts[number + 1] if number + 1 < len(starts) else steps[-1]
        figure.add_vrect(x0=start, x1=end, fillcolor=_COLORS[number % len(_COLORS)], opacity=0.06, line_width=0)
    return figure


def _starts(found: TasksInTurn) -> np.ndarray:
    """The step of the whole sequence at which each task begins."""
    last = [int(found.watched_step[found.watched_task == task].max()) for task in range(len(found.tasks))]
    return np.array([0, *np.cumsum(last)[:-1]])
