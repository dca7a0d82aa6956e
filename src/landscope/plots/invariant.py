"""Figures of flatness without units: in the Fisher metric, and the chains of the local learning coefficient."""

from __future__ import annotations

import plotly.graph_objects as go
import torch

from landscope.landscape.invariant import InvariantFlatness
from landscope.landscape.learning_coefficient import LearningCoefficient
from landscope.plots.style import FIT, NULL, OWN, add_level, add_line, add_points, new_figure, numbers

__all__ = ["invariant_flatness", "learning_coefficient"]


def invariant_flatness(found: InvariantFlatness) -> go.Figure:
    """Flatness in the Fisher metric against plain flatness, with the levels that curvature alone would give.

    Args:
        found: The flatness in the metric.

    Returns:
        A figure of F_i in the metric, without unit, against F_i in units of the weights, both logarithmic.

    Example:
        >>> import landscope as ls, torch
        >>> curvature = torch.tensor([2.0, 8.0]).double()
        >>> F = ls.flatness(ls.synthetic.QuadraticBowl(curvature), torch.zeros(2).double(), torch.eye(2).double())
        >>> found = ls.landscape.invariant_flatness(F, torch.eye(2).double(), lambda v: curvature * v)
        >>> len(invariant_flatness(found).data[0].x)
        2
    """
    figure = new_figure("flatness F<sub>i</sub>", "F<sub>i</sub> in the metric", log_x=True, log_y=True)
    add_points(figure, numbers(found.plain_width), numbers(found.width), f"metric: {found.metric}", OWN, 5)
    add_level(figure, found.bowl_width, "bowl", NULL)
    add_level(figure, found.gaussian_width, "ln L quadratic", FIT, at="start")
    return figure


def learning_coefficient(found: LearningCoefficient, n_sharp: int | None = None) -> go.Figure:
    """The loss above that at w0, times n beta, along each chain; its mean after the burn-in is the coefficient.

    Args:
        found: The chains.
        n_sharp: D_s, the number of sharp directions, whose half stands beside the estimate; not written if None.

    Returns:
        A figure of n beta (L - L0), without unit, against the step of the chain, with the end of the burn-in; the
        estimate has a level where the chains give one.
    """
    figure = new_figure("step of the chain", "nβ(L − L<sub>0</sub>)")
    excess = found.n_samples * found.inverse_temperature * (found.losses - found.loss0)
    for number, chain in enumerate(excess):
        kept = torch.isfinite(chain)
        add_line(figure, numbers(found.steps[kept]), numbers(chain[kept]), f"chain {number + 1}", OWN, width=1)
    add_level(figure, found.burn_in, "burn-in", NULL, upright=True)
    if found.coefficient == found.coefficient:
        sharp = "" if n_sharp is None else f", D_s/2 = {n_sharp / 2:g}"
        add_level(figure, found.coefficient, f"λ = {found.coefficient:.3g} ± {found.stderr:.2g}{sharp}", FIT)
    else:
        words = "λ not measured: the chains did not settle"
        figure.add_scatter(x=[None], y=[None], name=words, mode="lines", line={"color": FIT})
    return figure
