"""Section S6: small cases of every kind, and a claim that can come out either way."""

import dataclasses
import math

import pytest
import torch

import landscope as ls
from landscope.claims.statements import judged
from landscope.law.intervals import mean_with_interval
from landscope.law.inverse_relation import InverseRelation
from landscope.progress import QuietReporter
from landscope.reproduction.figures import sec_s6
from landscope.reproduction.figures.sec_s6.cases import CASES
from landscope.reproduction.figures.sec_s6.universality import CLAIMS, CaseResult, universality_measurements
from landscope.reproduction.reproduce import reproduce
from landscope.synthetic import InverseGaussian, sgd_in_bowl
from verdicts import verdicts


def exponents(psi):
    curvature = torch.logspace(0, 1, 6).double()
    path = ls.Trajectory.of(sgd_in_bowl(curvature, 200, learning_rate=0.1, noise_variance=1e-4, seed=0))
    relation = InverseRelation(InverseGaussian(curvature), path.window(1, 101), path.window(101), (1, 6))
    return dataclasses.replace(relation.in_sample(), psi=psi, psi_interval=(psi - 0.1, psi + 0.1))


def case(name, own, fresh, null, error=0.0):
    found = [exponents(own)], [exponents(fresh)], [[exponents(null)]]
    return CaseResult(name, "digits", 100, "w", 6, [error], *found)


@pytest.mark.parametrize(
    ("own", "fresh", "null", "expected"),
    [
        ((4.0, 3.0), (1.0, 1.5), (0.0, -0.5), "undecided"),
        ((1.0, 2.0), (1.0, 1.0), (3.0, 4.0), "undecided"),  # as inverse as the null, and inverse in fresh data
        ((4.0, 3.0), (1.0, 1.0), (0.0, math.nan), "undecided"),  # so the null is not needed
        ((4.0, -3.0), (1.0, 1.0), (0.0, 0.0), "not reproduced"),
        ((4.0, 3.0), (1.0, -1.0), (0.0, 0.0), "contested"),
        ((4.0, 3.0), (math.nan, -1.0), (0.0, 0.0), "contested"),
        ((4.0, 3.0), (math.nan, 1.0), (2.0, 5.0), "contested"),  # nothing answers the null
        ((4.0, 3.0), (math.nan, 1.0), (2.0, 0.0), "undecided"),
        ((4.0, 3.0), (1.0, 0.05), (0.0, 0.0), "undecided"),
        ((4.0, 0.05), (1.0, 1.0), (0.0, 0.0), "undecided"),
        ((4.0, -0.105), (1.0, 1.0), (0.0, 0.0), "undecided"),  # below zero alone, not as the lowest of two
        ((math.nan, math.nan), (1.0, 1.0), (2.0, 5.0), "not measured"),
    ],
)
def test_a_sign_that_a_finite_window_makes_is_never_reproduced(own, fresh, null, expected):
    cases = [case(f"case {n}", *values) for n, values in enumerate(zip(own, fresh, null, strict=True))]
    assert verdicts(universality_measurements(cases), CLAIMS)["universal"] == expected


def test_only_the_exploration_phase_counts():
    inverse, other = case("a", 4.0, 1.0, 0.0), case("b", -3.0, -1.0, 0.0, error=0.1)
    measured = universality_measurements([inverse, other])
    assert "its limit in a window without end" in judged(measured, CLAIMS)[0].why  # which is not measured
    assert verdicts(measured, CLAIMS)["universal"] == "undecided"
    assert "the training error was not zero for b (w)" in measured["universal"].note
    assert verdicts(universality_measurements([other]), CLAIMS)["universal"] == "not measured"


def test_draws_are_averaged_within_each_run_that_has_any():
    """A run without surrogates (``n_nulls=0``) has no mean; the means of two others differ by 2 about 2."""
    two_runs = [[exponents(0.5), exponents(1.5)], [], [exponents(3.0)]]
    assert sec_s6._psi_of_draws(two_runs) == mean_with_interval([1.0, 3.0])
    assert sec_s6._psi_of_draws(two_runs[:2]) == "1.00"
    assert sec_s6._psi_of_draws([[], []]) == sec_s6._psi_of_draws([]) == "–"


FEW_SAMPLES = {
    "data": "digits", "train_samples": 300, "flatness_samples": None, "record_every": 1, "window_epochs": 8, "start": 3,
}  # fmt: skip


def small(case):
    """The same case, in seconds."""
    quick = {"gpt2": {"window_epochs": 4, "start": 40}, "residual": FEW_SAMPLES}.get(case.key, {})
    return dataclasses.replace(case, quick=FEW_SAMPLES if "cnn" in case.key else quick)


def check_section(plan, cases, monkeypatch):
    monkeypatch.setattr(sec_s6, "CASES", tuple(small(case) for case in cases))
    monkeypatch.setattr(sec_s6, "_QUICK_MODES", 5)
    (section,) = reproduce(plan, [sec_s6], QuietReporter()).sections
    assert len(section.rows) == sum(max(1, len(case.layers)) for case in cases)
    assert all(row[7] != "–" for row in section.rows)
    assert [judgement.claim.key for judgement in section.judgements] == ["universal"]
    assert section.plots[0].draw().data
    return section


@pytest.mark.slow
def test_cases_with_layers_shared_runs_and_other_coordinates(plan, monkeypatch):
    keys = ("sgd", "adam", "mlp-3")
    section = check_section(plan, [case for case in CASES if case.key in keys], monkeypatch)
    assert section.rows[1][7] != section.rows[2][7]  # one run, in two systems of coordinates
    runs = {path.name.rsplit("-", 1)[0] for path in (plan.folder / "runs").iterdir()}
    assert {"B100-alpha0.2", "adam", "mlp-3"} <= runs
    assert "adam-preconditioned" not in runs


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")  # the transformer
def test_every_case(plan, monkeypatch):
    check_section(plan, CASES, monkeypatch)
