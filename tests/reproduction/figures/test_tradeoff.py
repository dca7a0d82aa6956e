"""Fig. 4B and E: curves and displacements with known answers."""

import dataclasses
import math

import pytest
import torch

from landscope.reproduction.figures.fig4.plots import PAPER_PLOTS, saturated_fronts
from landscope.reproduction.figures.fig4.tradeoff import TRADEOFF_CLAIMS, better_share, tradeoff_measurements
from landscope.reproduction.figures.two_task_experiment import TwoTaskResults
from two_task_trials import trials_of_seed
from verdicts import verdicts


def results(errors=None, free=None):
    """Three seeds on clusters, with given errors by method and free displacements over the bound."""
    seeds = []
    for seed in range(3):
        trials = trials_of_seed(seed)
        error, moved = trials.error.clone(), trials.displacement.clone()
        for number, method in enumerate(trials.method):
            error[number] = (errors or {}).get(method, error[number])
        width = trials.flatness if free is None else torch.ones_like(trials.flatness)
        if free is not None:
            moved[0] = 0.008 * free
            moved[1] = 0.0
        seeds.append(dataclasses.replace(trials, error=error, displacement=moved, flatness=width))
    return TwoTaskResults("P", seeds[:2], seeds[2:], 4, (5, 20, 60))


def curve(*points):
    return torch.tensor(points, dtype=torch.float64)


def by_hand(own, other):
    """The same, level by level."""
    first = [float(point[0]) for each in (own, other) for point in each]
    won = 0.0
    levels = torch.linspace(min(first), max(first), 25, dtype=torch.float64).tolist()
    for level in levels:
        best = [min([float(p[1]) for p in each if p[0] <= level], default=math.inf) for each in (own, other)]
        won += 1.0 if best[0] < best[1] else 0.5 if best[0] == best[1] else 0.0
    return won / 25


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [
        (curve((0, 0.2), (1, 0.1)), curve((0, 0.3), (1, 0.2)), 1.0),
        (curve((0, 0.3), (1, 0.3)), curve((0, 0.2), (1, 0.1)), 0.0),
        (curve((0, 0.2), (1, 0.1)), curve((0, 0.2), (1, 0.1)), 0.5),
        (curve((0, 0.2), (1, 0.2)), curve((0.5, 0.1), (1, 0.1)), 12 / 25),  # 12 of 25 levels lie below 0.5
        (curve((0.3, 0.2)), curve((0.3, 0.1)), math.nan),
    ],
)
def test_the_share_of_levels_of_known_curves(own, other, expected):
    assert better_share(own, other) == pytest.approx(expected, nan_ok=True)
    if not math.isnan(expected):
        assert better_share(own, other) == pytest.approx(by_hand(own, other))


GOOD = {"none": 0.9, "ldc-no-floor": 0.01, "ewc": 0.2, "l2": 0.3}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "reproduced"),
        ({"ldc-no-floor": 0.3}, "not reproduced"),
        ({"ldc-no-floor": 0.2}, "contested"),  # equal curves
        ({"l2": 0.01}, "contested"),  # the distance alone does as well
        ({"none": 0.2, "ldc-no-floor": 0.2}, "not measured"),
    ],
)
def test_the_saturated_curves_decide(changes, expected):
    found = tradeoff_measurements(results({**GOOD, **changes}))
    assert verdicts(found, TRADEOFF_CLAIMS)["saturated_tradeoff"] == expected


@pytest.mark.parametrize(("free", "expected"), [(5.0, "reproduced"), (0.5, "not reproduced")])
def test_free_displacements_leave_the_bound_or_not(free, expected):
    assert verdicts(tradeoff_measurements(results(free=free)), TRADEOFF_CLAIMS)["free_displacement"] == expected


def test_displacements_that_fall_with_rank_are_told_from_those_that_rise():
    for free, sign in ((torch.linspace(2, 1, 4).double(), -1), (torch.linspace(1, 2, 4).double(), 1)):
        seeds = []
        for seed in range(2):
            trials = trials_of_seed(seed)
            moved = trials.displacement.clone()
            moved[0, :, :4] = free
            seeds.append(dataclasses.replace(trials, displacement=moved))
        found = tradeoff_measurements(TwoTaskResults("P", seeds, seeds, 4, (5, 20, 60)))
        assert found["free_displacement_by_rank"].value == pytest.approx(sign)


def test_the_saturated_curves_have_a_figure_of_their_own():
    found = results()
    traces = saturated_fronts([found]).data
    assert len(traces) == 9  # three methods at three times
    last = [trace for trace in traces if trace.line.dash == "solid"]
    for trace, (method, count) in zip(last, (("ldc-no-floor", 4), ("ewc", 0), ("l2", 0)), strict=True):
        by_hand = [100 * found.at(method, s, 60, count).errors.mean(dim=0) for s, _ in found.front(method, count, 60)]
        assert list(trace.x) == pytest.approx([max(0.01, float(errors[0])) for errors in by_hand])
        assert list(trace.y) == pytest.approx([max(0.01, float(errors[1])) for errors in by_hand])
        assert "60 minibatches" in trace.name
    assert saturated_fronts in [draw for _, draw, _ in PAPER_PLOTS]
