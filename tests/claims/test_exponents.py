"""Verdicts on exponents where the truth is known: the paper's, and noise proportional to curvature."""

import dataclasses
import math

import pytest

from landscope.claims.exponents import LIMIT_NAME, NULL_NAME, PROCESS_NAME
from landscope.claims.verdict import judge
from landscope.noise import window_factor
from landscope.reproduction.seed_summary import pooled_control
from relaxing_runs import CLAIMS, RelaxingRun

LONG = {
    "as it is": {},
    "more steps": {"rows": 4000},
    "slower": {"slowest": 90.0},
    "fewer steps": {"slowest": 55.0, "rows": 1300},
    "more directions": {"dim": 60, "slowest": 150.0, "rows": 4000},
    "few directions": {"dim": 12},
    "momentum": {"momentum": 0.8, "slowest": 150.0, "rows": 4000},
    "minibatches with replacement": {"batches": 100},
}
SHORT = {
    "a relaxation time": {"slowest": 1000.0, "rows": 1000},
    "five relaxation times": {"slowest": 300.0, "rows": 1500},
    "nothing relaxes": {"slowest": 1e5, "rows": 1000},
}


def shown(run):
    """kappa of the slowest direction."""
    return float(window_factor(run.limit.relaxations).min())


@pytest.mark.parametrize("setting", LONG.values(), ids=LONG)
def test_a_true_law_is_reproduced_in_a_window_that_shows_it(setting):
    run = RelaxingRun(**setting)
    assert shown(run) > 0.9
    assert run.verdicts() == dict.fromkeys(("psi", "psi_D", "psi_tau"), "reproduced")


@pytest.mark.parametrize("setting", SHORT.values(), ids=SHORT)
def test_a_true_law_is_undecided_in_a_shorter_window(setting):
    run = RelaxingRun(**setting)
    assert shown(run) < 0.9
    # D is measured by increments, which do not feel the length of the window.
    assert run.verdicts() == {"psi": "undecided", "psi_D": "reproduced", "psi_tau": "undecided"}
    judgement = judge(CLAIMS["psi"], run.measurements["psi"])
    assert "of the stationary variance of the slowest direction" in judgement.why


@pytest.mark.parametrize("setting", [*LONG.values(), *SHORT.values()], ids=[*LONG, *SHORT])
def test_noise_proportional_to_curvature_never_passes_for_the_law(setting):
    """D ~ F^-2 and lambda ~ F^-2: psi_infinity is 0, and psi_tau is -2."""
    verdicts = RelaxingRun(psi=0.0, **setting).verdicts("psi", "psi_tau")
    assert set(verdicts.values()) <= {"contested", "not reproduced"}


def test_a_window_that_makes_the_exponent_is_contested():
    """In-sample the walk of slow directions has psi about 4; its limit is 0."""
    run = RelaxingRun(psi=0.0, dim=60, rows=1000, slowest=1e5)
    low, high = CLAIMS["psi"].accepted
    assert low < run.measurements["psi"].value < high
    judgement = judge(CLAIMS["psi"], run.measurements["psi"])
    assert judgement.verdict == "contested"
    assert LIMIT_NAME in judgement.why


def test_the_process_of_a_true_law_has_the_same_exponent_and_psi_infinity_answers_it():
    measured = RelaxingRun().measurements["psi"]
    controls = {control.name: control for control in measured.controls}
    assert controls[PROCESS_NAME].band[0] < measured.value
    assert controls[PROCESS_NAME].band[1] > measured.value
    assert "no objection" in judge(CLAIMS["psi"], measured).why
    unmeasured = dataclasses.replace(controls[LIMIT_NAME], band=(math.nan, math.nan))
    alone = dataclasses.replace(measured, controls=(unmeasured, controls[PROCESS_NAME]))
    assert judge(CLAIMS["psi"], alone).verdict == "contested"


@pytest.mark.parametrize(
    ("band", "expected"),
    [((3.7, 3.9), "reproduced"), ((3.0, 3.9), "undecided"), ((-0.1, 0.2), "contested")],
)
def test_the_interval_of_psi_infinity_decides(band, expected):
    measured = RelaxingRun().measurements["psi"]
    limit = dataclasses.replace(measured.controls[0], band=band)
    changed = dataclasses.replace(measured, controls=(limit, *measured.controls[1:]))
    assert judge(CLAIMS["psi"], changed).verdict == expected


def test_gamma_has_no_limit_and_its_process_objects():
    measured = RelaxingRun(dim=60, slowest=150.0, rows=4000).measurements["gamma"]
    assert [control.name for control in measured.controls][:2] == [PROCESS_NAME, NULL_NAME]
    judgement = judge(CLAIMS["gamma"], measured)
    assert (judgement.verdict, PROCESS_NAME in judgement.why) == ("contested", True)


@pytest.mark.parametrize(("psi", "rows", "expected"), [(3.8, 2000, "reproduced"), (3.8, 300, "undecided"),
                                                       (0.0, 2000, "not reproduced")])  # fmt: skip
def test_controls_of_several_seeds_decide_as_those_of_one(psi, rows, expected):
    runs = [RelaxingRun(psi=psi, rows=rows, seed=seed).measurements["psi"] for seed in range(3)]
    drawn = {NULL_NAME, PROCESS_NAME}
    controls = [
        pooled_control(same, [sum(control.band) / 2 for control in same] if same[0].name in drawn else None)
        for same in zip(*(run.controls for run in runs), strict=True)
    ]
    mean = type(runs[0]).over_seeds([run.value for run in runs], *controls)
    assert judge(CLAIMS["psi"], mean).verdict == expected
