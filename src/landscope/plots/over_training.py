"""Figures of what changes over a training: sharpness, and the turning of the modes."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from landscope.directions.over_training import ModesOverTraining
from landscope.noise.sharpness_over_training import SharpnessOverTraining
from landscope.plots.style import (
    FIT,
    FRESH,
    NULL,
    OWN,
    STEPS,
    WALK,
    add_level,
    add_line,
    add_points,
    new_figure,
    numbers,
    places_of,
)

__all__ = ["modes_over_training", "sharpness_over_training"]


def sharpness_over_training(found: SharpnessOverTraining) -> go.Figure:
    """Largest curvature and batch sharpness over the training, with their edges of stability.

    Args:
        found: The sharpness over the training.

    Returns:
        A figure of curvatures (loss over weights squared) against the step, both logarithmic; the edge is in the same
        unit.
    """
    figure = new_figure(STEPS, "curvature", log_x=True, log_y=True)
    x = places_of(found.steps)
    add_line(figure, x, numbers(found.sharpness), "λ<sub>1</sub> of the whole loss", OWN)
    add_points(figure, x, numbers(found.batch_sharpness), "batch sharpness", FRESH, 7)
    figure.data[-1].error_y = {
        "type": "data", "array": numbers(1.96 * found.batch_sharpness_error), "thickness": 1, "width": 0,
    }  # fmt: skip
    with_momentum = bool((found.noise_bound < found.bound).any())
    edge = "2(1 + β)/α" if with_momentum else "2/α"
    add_line(figure, x, numbers(found.bound), edge, WALK, dash="dash", width=1)
    if with_momentum:
        add_line(figure, x, numbers(found.noise_bound), "2(1 - β)/α, noisy minibatches", WALK, dash="dot", width=1)
    return figure


def modes_over_training(found: ModesOverTraining) -> go.Figure:
    """Overlap of the modes of successive windows, beside that of modes that do not turn and of random directions.

    Args:
        found: The turning of the modes.

    Returns:
        A figure of the overlap, between 0 and 1, against the last step of each window.

    Example:
        >>> import landscope as ls, torch
        >>> rows = ls.synthetic.sgd_in_bowl(
        ...     torch.tensor([1.0, 1.0, 20.0, 20.0]), 400, learning_rate=0.05, noise_variance=1.0, seed=0
        ... )
        >>> found = ls.directions.modes_over_training(ls.Trajectory.of(rows), 2, n_windows=4)
        >>> modes_over_training(found).layout.yaxis.title.text
        'overlap of the first 2 modes'
    """
    figure = new_figure("last step of the window", f"overlap of the first {found.n_modes} modes")
    x = numbers(found.steps)
    low, high = numbers(found.unturned_range).T
    figure.add_scatter(
        x=np.concatenate([x[:-1], x[:-1][::-1]]), y=np.concatenate([high, low[::-1]]), fill="toself", mode="lines",
        line={"width": 0, "color": NULL}, opacity=0.35, name="next window, if the modes did not turn",
    )  # fmt: skip
    add_line(figure, x[:-1], numbers(found.unturned), "mean of these", NULL, width=1)
    add_line(figure, x[:-1], numbers(found.with_next), "with the next window", OWN)
    add_line(figure, x[:-1], numbers(found.with_last)[:-1], "with the last window", FIT)  # with itself it is 1
    add_level(figure, found.chance, "at random", WALK, dash="dot")
    figure.update_yaxes(range=[0, 1.02])
    return figure
