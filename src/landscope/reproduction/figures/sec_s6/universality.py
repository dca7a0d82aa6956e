"""Whether the inverse relation holds for every network, optimiser, loss and data set (paper, Figs. S3 and S10)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from landscope.claims.exponents import NULL_NAME
from landscope.claims.verdict import Claim, Control, Measurement
from landscope.law.exponents import Exponents
from landscope.law.intervals import prediction_band, seed_interval
from landscope.plots.style import FIT, FRESH, NULL, OWN, add_level, add_points, new_figure

__all__ = ["CLAIMS", "CaseResult", "exponents_of_cases", "universality_measurements"]


CLAIMS = (
    Claim(
        "universal",
        "text, Figs. S3 and S10",
        "The variance falls with flatness for every optimiser, network and data set (smallest psi of all cases).",
        "holds in all cases",
        (0.0, math.inf),
        "the sign",
        "every case in-sample, in fresh data, and under shuffled increments",
    ),
)


@dataclasses.dataclass(frozen=True)
class CaseResult:
    """The exponents of one network, optimiser, loss and data set, over seeds.

    Args:
        name: Name of the case.
        data: Data set.
        samples: Number of training samples.
        weights: Names of the analysed parameters.
        dim: Number of weights, N.
        training_error: Training error of each run at the end of its window.
        in_sample: Exponents of each run along its own modes.
        fresh: Exponents of each run along the same modes in fresh data.
        null: Exponents of the surrogates of all runs.
    """

    name: str
    data: str
    samples: int
    weights: str
    dim: int
    training_error: Sequence[float]
    in_sample: Sequence[Exponents]
    fresh: Sequence[Exponents]
    null: Sequence[Exponents]


def universality_measurements(cases: Sequence[CaseResult]) -> dict[str, Measurement]:
    """The claim ``universal``: the smallest exponent of all cases, each case beside its own null."""
    measured = [case for case in cases if not math.isnan(_mean(case.in_sample))]
    if not measured:
        return {"universal": Measurement(math.nan, note="no case has an exponent")}
    smallest = min(measured, key=lambda case: _mean(case.in_sample))
    fresh = [_mean(case.fresh) for case in measured if not math.isnan(_mean(case.fresh))]
    weakest = min(fresh, default=math.nan)  # one case without the relation contradicts it
    note = f"{len(measured)} cases, largest {max(_mean(case.in_sample) for case in measured):.2f}"
    for text, named in (
        ("not measured for", [case for case in cases if case not in measured]),
        ("in fresh data not inverse for", [case for case in measured if _mean(case.fresh) <= 0]),
        ("the training error was not zero for", [case for case in measured if max(case.training_error) > 0]),
    ):
        names = dict.fromkeys(f"{case.name} ({case.weights})" for case in named)
        note += f"; {text} {', '.join(names)}" if named else ""
    controls = (
        _null(measured),
        Control("the same modes in fresh data", (weakest, weakest), "agree"),
    )
    return {"universal": Measurement(_mean(smallest.in_sample), _interval(smallest.in_sample), controls, note)}


def _null(cases: Sequence[CaseResult]) -> Control:
    """Compare each case with its own surrogates: if they are as inverse, the relation needs no dynamics."""
    tested = [case for case in cases if any(not math.isnan(row.psi) for row in case.null)]
    as_inverse = [case for case in tested if _mean(case.in_sample) <= _upper(case.null)]
    finding = f"is as inverse in {len(as_inverse)} of {len(tested)} cases"
    if not as_inverse and len(tested) < len(cases):
        finding = f"was measured in {len(tested)} of {len(cases)} cases"
        return Control(NULL_NAME, (math.nan, math.nan), "differ", finding)
    # Where each case has passed its own null, no value is that of the null.
    return Control(NULL_NAME, (-math.inf, math.inf if as_inverse else -math.inf), "differ", finding)


def _upper(null: Sequence[Exponents]) -> float:
    """Upper end of the band of a further surrogate; with one surrogate, its own value."""
    values = [row.psi for row in null if not math.isnan(row.psi)]
    return prediction_band(values)[1] if len(values) > 1 else values[0]


def _interval(rows: Sequence[Exponents]) -> tuple[float, float]:
    return seed_interval([row.psi for row in rows]) if len(rows) > 1 else rows[0].psi_interval


def _mean(rows: Sequence[Exponents]) -> float:
    values = [row.psi for row in rows if not math.isnan(row.psi)]
    return sum(values) / len(values) if values else math.nan


def exponents_of_cases(cases: Sequence[CaseResult]) -> go.Figure:
    """The exponent psi of every case: in-sample, in fresh data, under the null; every run is a point."""
    figure = new_figure("ψ", "")
    names = [f"{case.name}, {case.weights}" for case in cases]
    parts = {"in_sample": ("in-sample", OWN), "fresh": ("fresh data", FRESH), "null": ("shuffled increments", NULL)}
    for number, (part, (label, color)) in enumerate(parts.items()):
        points = [(row.psi, place) for place, case in enumerate(cases) for row in getattr(case, part)]
        x, y = np.array([psi for psi, _ in points]), np.array([place + 0.22 * (1 - number) for _, place in points])
        add_points(figure, x, y, label, color, 7)
    add_level(figure, 4, "paper: about 4", FIT, upright=True, at="start")
    add_level(figure, 0, dash="solid", upright=True)
    figure.update_yaxes(tickvals=list(range(len(cases))), ticktext=names, autorange="reversed")
    figure.update_layout(height=150 + 34 * len(cases))
    return figure
