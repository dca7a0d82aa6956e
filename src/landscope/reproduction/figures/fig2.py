"""Fig. 2: the loss along the modes, their flatness, and the inverse variance-flatness relation."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from landscope.plots.style import FIT, FRESH, NULL, OWN, PALETTE, add_level, add_points, new_figure, numbers
from landscope.reproduction.experiment.run import ExperimentRun
from landscope.reproduction.figures.figure import Plot
from landscope.reproduction.figures.single_runs import SingleRuns
from landscope.reproduction.seed_summary import LAW_ROWS, SeedSummary
from landscope.study import saved

__all__ = ["FIG2", "exponents_by_pair", "variance_against_flatness"]


def _plots(summaries: Sequence[SeedSummary]) -> list[Plot]:
    law = functools.partial(variance_against_flatness, summaries)
    return [
        Plot("Exponents.", functools.partial(exponents_by_pair, summaries), "Every run is a point."),
        Plot("Variance against flatness.", law, "In-sample, all seeds."),
    ]


def exponents_by_pair(summaries: Sequence[SeedSummary]) -> go.Figure:
    """Exponents psi of every run, in-sample, in fresh data and under the null, for each (B, alpha)."""
    figure = new_figure("", "ψ")
    for label, color, offset in zip(LAW_ROWS, (OWN, FRESH, NULL), (-0.2, 0.0, 0.2), strict=True):
        values = [summary.rows.get(label, {}).get("psi", []) for summary in summaries]
        x = [number + offset for number, part in enumerate(values) for _ in part]
        add_points(figure, np.array(x), np.array([value for part in values for value in part]), label, color, 8)
    add_level(figure, 4, "paper: about 4", FIT)
    figure.update_xaxes(tickvals=list(range(len(summaries))), ticktext=[summary.name for summary in summaries])
    figure.update_yaxes(autorangeoptions={"include": [0, 4.5]})  # the label stands above 4
    return figure


def variance_against_flatness(summaries: Sequence[SeedSummary]) -> go.Figure:
    """Fig. 2D over settings: variance against flatness of every seed, one colour for each (B, alpha)."""
    figure = new_figure("flatness F<sub>i</sub>", "variance σ<sub>i</sub>²", log_x=True, log_y=True)
    for summary, color in zip(summaries, PALETTE, strict=False):
        laws = [ExperimentRun.open(path).load(saved.IN_SAMPLE.name, saved.IN_SAMPLE.kind) for path in summary.folders]
        x = np.concatenate([numbers(law.width[law.used]) for law in laws])
        y = np.concatenate([numbers(law.variance[law.used]) for law in laws])
        add_points(figure, x, y, summary.name, color, 3)
    return figure


FIG2 = SingleRuns(
    key="fig2",
    title="Fig. 2: the inverse variance-flatness relation",
    until="law",
    claims=("inverse_gaussian", "flatness_rises", "psi"),
    plots=("loss_profiles", "log_loss_profiles", "flatness_against_rank", "variance_against_flatness"),
    table="law",
    other_pairs=((100, 0.1), (50, 0.2)),
    plots_over_seeds=_plots,
)
