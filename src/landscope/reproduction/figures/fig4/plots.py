"""Figures of two tasks, and of tasks in sequence."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from landscope.plots.style import FIT, FRESH, NULL, OWN, PALETTE, add_line, add_points, new_figure, numbers, ranks_of
from landscope.reproduction.figures.fig4.claims import PAPER_BOUND
from landscope.reproduction.figures.two_task_experiment import PAPER_METHOD, PAPER_STRENGTH, TwoTaskResults
from landscope.reproduction.sequential.continual_result import ContinualResult
from landscope.reproduction.sequential.methods import COMPARED

__all__ = [
    "PAPER_PLOTS",
    "PLOTS",
    "displacements",
    "error_by_number",
    "errors_in_sequence",
    "errors_over_steps",
    "fronts",
    "late_fronts",
    "saturated_fronts",
]

_COLORS = (*PALETTE, FIT, "#00838f", NULL, "#000", "#ad8b00", "#c2185b")
_SHOWN = (
    PAPER_METHOD, "ldc-floor", "ldc-variance-factored", "kfac", "hessian", "ewc", "ewc-empirical", "random", "l2",
)  # fmt: skip
_FRONT_AXES = ("test error of task 1 (%)", "test error of task 2 (%)")
_SMALLEST = 0.01
"""Per cent: an error of zero is drawn here on a logarithmic axis."""
_WITH_FLOOR = ("ldc-floor", COMPARED["ldc-floor"].method.default_strength or 1.0, "with floor, λ = 4", FRESH)
_PAPER = (PAPER_METHOD, PAPER_STRENGTH, f"LDC, λ = {PAPER_STRENGTH:g}", OWN)


def errors_over_steps(results: Sequence[TwoTaskResults]) -> go.Figure:
    """Fig. 4A and C: errors of both tasks without constraint, with the paper's, and with a floor."""
    first = results[0]
    figure = new_figure("minibatches of task 2", "test error (%)", log_x=True, log_y=True)
    steps = first.reported[0].step.tolist()[1:]
    for method, strength, label, color in (("none", math.nan, "nothing", NULL), _PAPER, _WITH_FLOOR):
        n_modes = 0 if method == "none" else first.n_modes
        means = np.mean([numbers(first.at(method, strength, step, n_modes).errors) for step in steps], axis=1)
        for task, dash in ((0, "solid"), (-1, "dot")):
            name = f"task {1 if task == 0 else 2}: {label}"
            add_line(figure, np.array(steps), _percent(means[:, task]), name, color, width=1.8, dash=dash)
    figure.update_xaxes(dtick="D2")
    return figure


def displacements(results: Sequence[TwoTaskResults]) -> go.Figure:
    """Fig. 4B and D: how far the weights of the first seed moved along each mode in an epoch."""
    trials, step = results[0].reported[0], results[0].epoch
    place = trials.step.tolist().index(step)
    figure = new_figure("rank i of the mode of task 1", "displacement", log_x=True, log_y=True)
    for row, number in enumerate(trials.moved):
        label, color = ("without constraint", NULL) if trials.method[number] == "none" else ("with constraints", OWN)
        q = numbers(trials.displacement[row, place])
        add_points(figure, ranks_of(len(q)), q, f"q<sub>i</sub> {label}", color, 4)
    bound = PAPER_BOUND * numbers(trials.flatness)
    add_line(figure, ranks_of(len(bound)), bound, f"{PAPER_BOUND:g} F<sub>i</sub>", FIT, dash="dash", width=1.5)
    return figure


def fronts(results: Sequence[TwoTaskResults]) -> go.Figure:
    """Fig. 4E: the errors of both tasks over strengths, after an epoch; mean over seeds."""
    return _fronts(results[0], results[0].epoch)


def late_fronts(results: Sequence[TwoTaskResults]) -> go.Figure:
    """The same after five epochs."""
    return _fronts(results[0], results[0].stops[2])


def saturated_fronts(results: Sequence[TwoTaskResults]) -> go.Figure:
    """Fig. 4E when both tasks are learnt out: the curves of the claim at the last stop, and how they came there."""
    first, figure = results[0], new_figure(*_FRONT_AXES, log_x=True, log_y=True)
    steps = [step for step in first.reported[0].step.tolist() if first.epoch <= step <= first.stops[2]]
    shown = (steps[0], steps[len(steps) // 2], steps[-1])
    for (method, n_modes), color in zip(
        ((PAPER_METHOD, first.n_modes), ("ewc", 0), ("l2", 0)), (OWN, FIT, NULL), strict=True
    ):
        for step, dash in zip(shown, ("dot", "dash", "solid"), strict=True):
            errors = np.array([numbers(each) for _, each in first.front(method, n_modes, step)]).reshape(-1, 2)
            name = f"{COMPARED[method].label}, {step:,} minibatches"
            add_line(figure, _percent(errors[:, 0]), _percent(errors[:, 1]), name, color, width=1.6, dash=dash)
    return figure


def _fronts(results: TwoTaskResults, step: int) -> go.Figure:
    figure = new_figure(*_FRONT_AXES, log_x=True, log_y=True)
    for method, color in zip(_SHOWN, _COLORS, strict=False):
        counts = (results.n_modes, 2 * results.n_modes) if COMPARED[method].counts == "modes" else (0,)
        points = next(filter(None, (results.front(method, count, step) for count in counts)), [])
        x, y = (_percent(np.array([errors[task] for _, errors in points])) for task in (0, 1))
        text = [f"λ = {strength:.3g}" for strength, _ in points]
        figure.add_scatter(
            x=x, y=y, text=text, name=COMPARED[method].label, mode="lines+markers",
            line={"color": color, "width": 1.3}, marker={"color": color, "size": 5},
        )  # fmt: skip
    return figure


def error_by_number(results: Sequence[TwoTaskResults]) -> go.Figure:
    """Fig. 4F: summed error over the number of modes, or weights, constrained; every seed is a point."""
    first = results[0]
    figure = new_figure("number of constraints", "summed test error (%)", log_x=True, log_y=True)
    for method, strength, label, color in (_PAPER, _WITH_FLOOR):
        by_seed = [trials.error_by_count(method, strength, first.epoch) for trials in first.reported]
        points = [point for errors in by_seed for point in errors.items()]
        x, y = np.array([count for count, _ in points]), np.array([error for _, error in points])
        add_points(figure, x, _percent(y), label, color, 5)
    for count in first.counts("ewc"):
        errors = first.best("ewc", first.epoch, count).errors.sum(dim=1)
        constrained = np.full(len(errors), count or first.reported[0].dim)
        add_points(figure, constrained, _percent(numbers(errors)), "EWC, tuned", FIT, 5)
    _name_once(figure)
    figure.update_yaxes(dtick="D2")
    return figure


def _percent(shares: np.ndarray) -> np.ndarray:
    return np.maximum(100 * shares, _SMALLEST)


def _name_once(figure: go.Figure) -> None:
    seen: set[str] = set()
    for trace in figure.data:
        trace.showlegend = trace.name not in seen
        seen.add(trace.name)


def errors_in_sequence(result: ContinualResult) -> go.Figure:
    """Errors of all tasks while each is learnt after the other."""
    figure = new_figure("minibatches", "test error (%)", log_y=True)
    last = [int(result.watched_step[result.watched_task == task].max()) for task in range(len(result.tasks))]
    starts = np.array([0, *np.cumsum(last)])
    steps = numbers(result.watched_step) + starts[numbers(result.watched_task)]
    for task, name in enumerate(result.tasks):
        color = _COLORS[task % len(_COLORS)]
        add_line(figure, steps, _percent(numbers(result.watched_error[:, task])), f"task {name}", color, width=1.6)
    for number, (start, end) in enumerate(itertools.pairwise(starts)):
        figure.add_vrect(x0=start, x1=end, fillcolor=_COLORS[number % len(_COLORS)], opacity=0.06, line_width=0)
    return figure


PAPER_PLOTS = (
    ("Errors while task 2 is learnt (Fig. 4A, C).", errors_over_steps, "P; mean over seeds."),
    ("Displacements (Fig. 4B, D).", displacements, "P, one seed, after an epoch."),
    ("Both errors over strengths, after an epoch (Fig. 4E).", fronts, "P; mean over seeds."),
    ("The same after five epochs.", late_fronts, "P; mean over seeds."),
    (
        "Both tasks learnt out (Fig. 4E, saturated).",
        saturated_fronts,
        "P; mean over seeds. Each line is a method over its strengths, after an epoch (dotted), half-way (dashed) and "
        "at the last stop (solid), where the claim compares them. A curve is saturated where dashed and solid lines "
        "meet.",
    ),
    ("Errors by the number of constraints (Fig. 4F).", error_by_number, "P, after an epoch."),
)
"""Pictures of Fig. 4."""
PLOTS = (
    ("Errors while task 2 is learnt.", errors_over_steps, "Mean over seeds."),
    ("Both errors over strengths, after an epoch.", fronts, "Mean over seeds."),
)
"""Pictures of sec-S8."""
