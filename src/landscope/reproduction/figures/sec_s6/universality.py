"""Whether the inverse relation holds for every network, optimiser, loss and data set (paper, Figs. S3 and S10)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from scipy import stats

from landscope.claims.exponents import LIMIT_NAME, NULL_NAME
from landscope.claims.verdict import Claim, Control, Measurement, fresh_control, joined
from landscope.law.exponents import Exponents
from landscope.law.intervals import prediction_band, seed_interval
from landscope.law.time_blocks import FEWEST_BLOCKS
from landscope.plots.style import FIT, FRESH, NULL, OWN, add_level, add_points, new_figure

__all__ = ["CLAIMS", "CaseResult", "exponents_of_cases", "universality_measurements"]

_LEVEL = 0.95

CLAIMS = (
    Claim(
        "universal",
        "text, Figs. S3 and S10",
        "The variance falls with flatness for every optimiser, network and data set (smallest psi of all cases in the"
        " exploration phase, where the training error is zero).",
        "holds in all cases",
        (0.0, math.inf),
        "the sign",
        "every case in-sample and in fresh data, shuffled increments beside them; no case has its limit in a window"
        " without end, so that a finite window may make the sign and nothing is decided",
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
        null: Exponents of the surrogates of each run.
        process: Exponents of the finite-window processes of each run, in the window and in the next one; none where
            they are not measured.
    """

    name: str
    data: str
    samples: int
    weights: str
    dim: int
    training_error: Sequence[float]
    in_sample: Sequence[Exponents]
    fresh: Sequence[Exponents]
    null: Sequence[Sequence[Exponents]]
    process: tuple[Sequence[Sequence[Exponents]], Sequence[Sequence[Exponents]]] = ((), ())


def universality_measurements(cases: Sequence[CaseResult]) -> dict[str, Measurement]:
    """The claim ``universal``: the smallest exponent of all cases in the exploration phase.

    That every case is inverse needs each interval of 95 % above zero; the lower end is the lowest of all cases. That
    some case is not needs one of n intervals below zero, which chance offers n times; the upper end is the lowest of
    intervals of 1 - 0.05/n (Bonferroni).

    Args:
        cases: Results of all cases; those whose training error was not zero are named and do not count.
    """
    covered = [case for case in cases if max(case.training_error) == 0]
    measured = [case for case in covered if not math.isnan(_mean(case.in_sample))]
    left_out = _named("the training error was not zero for", [case for case in cases if case not in covered])
    if not measured:
        return {"universal": Measurement(math.nan, note=joined("no case has an exponent", left_out))}
    fresh = _fresh(measured)
    note = joined(
        f"{len(measured)} cases, largest {max(_mean(case.in_sample) for case in measured):.2f}",
        _named("not measured for", [case for case in covered if case not in measured]),
        _named("in fresh data not inverse for", [case for case in measured if _mean(case.fresh) <= 0]),
        left_out,
    )
    smallest = min(_mean(case.in_sample) for case in measured)
    interval = _interval([case.in_sample for case in measured])
    freedom = min(_freedom(case.in_sample) for case in measured)
    # Noise proportional to curvature is as inverse in any window that ends, in-sample and in fresh data.
    limit = Control(LIMIT_NAME, (math.nan, math.nan), "agree")
    controls = (limit, _null(measured, fresh.name), fresh)
    return {"universal": Measurement(smallest, interval, controls, note, freedom=freedom)}


def _named(text: str, cases: Sequence[CaseResult]) -> str:
    names = dict.fromkeys(f"{case.name} ({case.weights})" for case in cases)
    return f"{text} {', '.join(names)}" if names else ""


def _fresh(cases: Sequence[CaseResult]) -> Control:
    """The smallest exponent in fresh data; without those of some case it can only contest."""
    tested = [case.fresh for case in cases if not math.isnan(_mean(case.fresh))]
    band = _interval(tested) if tested else (math.nan, math.nan)
    if len(tested) < len(cases) and not band[1] < 0:
        return fresh_control(math.nan)
    return fresh_control(min(map(_mean, tested)), interval=band)


def _null(cases: Sequence[CaseResult], answer: str) -> Control:
    """Compare each case with its own surrogates: if they are as inverse, modes of large variance suffice.

    They are so where the relation is real too. Fresh data, in which no modes were searched, decide between the two.
    """
    tested = [case for case in cases if any(not math.isnan(row.psi) for row in _all(case.null))]
    as_inverse = [case for case in tested if _mean(case.in_sample) <= _upper(_all(case.null))]
    if not as_inverse and len(tested) < len(cases):
        finding, band = f"was measured in {len(tested)} of {len(cases)} cases", (math.nan, math.nan)
    else:
        finding = f"is as inverse in {len(as_inverse)} of {len(tested)} cases"
        # Where each case has passed its own null, no value is that of the null.
        band = (-math.inf, math.inf if as_inverse else -math.inf)
    return Control(NULL_NAME, band, "differ", finding, answered_by=answer)


def _all(draws: Sequence[Sequence[Exponents]]) -> list[Exponents]:
    return [row for rows in draws for row in rows]


def _upper(null: Sequence[Exponents]) -> float:
    """Upper end of the band of a further surrogate; with one surrogate, its own value."""
    values = [row.psi for row in null if not math.isnan(row.psi)]
    return prediction_band(values)[1] if len(values) > 1 else values[0]


def _interval(cases: Sequence[Sequence[Exponents]]) -> tuple[float, float]:
    """Of the smallest exponent: the lowest lower end, and the lowest upper end that holds for all cases together."""
    low = min(_interval_of(rows, _LEVEL)[0] for rows in cases)
    return low, min(_interval_of(rows, 1 - (1 - _LEVEL) / len(cases))[1] for rows in cases)


def _interval_of(rows: Sequence[Exponents], level: float) -> tuple[float, float]:
    """Over seeds; of one run, over blocks of time at another level, or what another run may give without that."""
    values = [row.psi for row in rows if not math.isnan(row.psi)]
    if len(values) > 1:
        return seed_interval(values, level)
    (row,) = (row for row in rows if not math.isnan(row.psi))
    law = stats.t(_freedom(rows))
    low, high = row.psi_interval
    reach = row.reach_of("psi") if math.isnan(low) else (high - low) / 2
    reach *= float(law.ppf(0.5 + level / 2) / law.ppf(0.5 + _LEVEL / 2))
    return row.psi - reach, row.psi + reach


def _freedom(rows: Sequence[Exponents]) -> int:
    """Degrees of freedom of the interval over seeds, or over blocks of time of one run."""
    seeds = sum(not math.isnan(row.psi) for row in rows)
    return seeds - 1 if seeds > 1 else FEWEST_BLOCKS - 1


def _mean(rows: Sequence[Exponents]) -> float:
    values = [row.psi for row in rows if not math.isnan(row.psi)]
    return sum(values) / len(values) if values else math.nan


def exponents_of_cases(cases: Sequence[CaseResult]) -> go.Figure:
    """The exponent psi of every case: in-sample, in fresh data, under the null; every run is a point."""
    figure = new_figure("ψ", "")
    names = [f"{case.name}, {case.weights}" for case in cases]
    parts = [
        ([case.in_sample for case in cases], "in-sample", OWN),
        ([case.fresh for case in cases], "fresh data", FRESH),
        ([_all(case.null) for case in cases], "shuffled increments", NULL),
    ]
    for number, (found, label, color) in enumerate(parts):
        points = [(row.psi, place) for place, rows in enumerate(found) for row in rows]
        x, y = np.array([psi for psi, _ in points]), np.array([place + 0.22 * (1 - number) for _, place in points])
        add_points(figure, x, y, label, color, 7)
    add_level(figure, 4, "paper: about 4", FIT, upright=True, at="start")
    add_level(figure, 0, dash="solid", upright=True)
    figure.update_yaxes(tickvals=list(range(len(cases))), ticktext=names, autorange="reversed")
    figure.update_layout(height=150 + 34 * len(cases))
    return figure
