"""Verdicts on two tasks can come out either way, and their figures show what was measured."""

import dataclasses
import math

import pytest
import torch

from clusters import learn_all, prepared
from landscope.reproduction.figures import sec_s7, sec_s8
from landscope.reproduction.figures.fig4 import claims, plots
from landscope.reproduction.figures.fig4.claims import single_seed_measurements
from landscope.reproduction.figures.two_task_experiment import TwoTaskResults
from landscope.reproduction.sequential.methods import PSI_METHODS
from two_task_trials import trials_of_seed
from verdicts import verdicts

GOOD = {"none": 0.9, "ldc-no-floor": 0.01, "random": 0.8, "ewc": 0.2, "kfac": 0.1, "l2": 0.3}


def results(errors=None, name="P"):
    """Three seeds on clusters, with other errors of some methods."""
    seeds = []
    for seed in range(3):
        trials = trials_of_seed(seed)
        error = trials.error.clone()
        for number, method in enumerate(trials.method):
            error[number] = (errors or {}).get(method, error[number])
        seeds.append(dataclasses.replace(trials, error=error))
    return TwoTaskResults(name, seeds[:2], seeds[2:], 4, (5, 20, 60))


def test_strengths_are_chosen_on_other_seeds_than_those_reported():
    found = results()
    best = found.best("ldc-no-floor", 60, 4)
    tuning = trials_of_seed(2)
    by_hand = {s: float(tuning.errors("ldc-no-floor", s, 4, 60).sum()) for s in (1.0, 10.0)}
    assert best.strength.value == min(by_hand, key=by_hand.get)
    assert best.strength.at_edge
    assert best.errors.shape == (2, 2)
    assert best.summed == pytest.approx([sum(row) for row in zip(best.of_task(0), best.of_task(1), strict=True)])
    assert math.isnan(found.best("none", 60, 0).strength.value)


def test_claims_on_forgetting_can_come_out_either_way():
    def got(**changes):
        return verdicts(claims.measurements(results({**GOOD, **changes})), claims.CLAIMS)

    assert set(got()) == {claim.key for claim in claims.CLAIMS}
    for key in ("forgetting", "constraint_keeps", "constraint_lasts", "better_than_ewc"):
        assert got()[key] == "reproduced"
    bad = got(**{"none": 0.0, "ldc-no-floor": 0.5, "ewc": 0.1})
    for key in ("forgetting", "constraint_keeps", "better_than_ewc"):
        assert bad[key] == "not reproduced"
    assert got(random=0.01)["constraint_keeps"] == "contested"


def test_the_claim_on_exponents_can_come_out_either_way():
    for errors, expected in (
        ({PSI_METHODS[3]: 0.9}, "not reproduced"),
        (dict.fromkeys(PSI_METHODS.values(), 0.1), "reproduced"),
    ):
        assert verdicts(sec_s7.measurements(results(errors)), sec_s7.CLAIMS) == {"any_psi": expected}


def test_the_claim_on_larger_tasks_is_that_of_the_worst_experiment():
    better, worse = (
        results({"ldc-no-floor": own, "ewc": other}, name) for own, other, name in ((0.0, 0.4, "a"), (0.4, 0.0, "b"))
    )
    assert verdicts(sec_s8.measurements([better]), sec_s8.CLAIMS) == {"better_on_larger_tasks": "reproduced"}
    assert verdicts(sec_s8.measurements([better, worse]), sec_s8.CLAIMS) == {"better_on_larger_tasks": "not reproduced"}


@pytest.mark.parametrize("error", [0.9, 0.0])
def test_one_seed_is_read_at_the_first_look_after_an_epoch_and_decides_nothing(error):
    seen = {"watched_task": torch.tensor([0, 1, 1]), "watched_step": torch.tensor([9, 5, 12])}
    seen["watched_error"] = torch.tensor([[0.0, 1.0], [0.5, 0.5], [error, 0.0]]).double()
    plain = dataclasses.replace(learn_all(prepared(epochs=1, window_epochs=0), "none"), **seen)
    found = single_seed_measurements([plain], 10)
    assert found["forgetting"].value == pytest.approx(100 * error)
    assert verdicts(found, claims.CLAIMS) == {"forgetting": "undecided"}


def test_figures_show_the_errors_that_were_measured():
    found = results()
    steps = plots.errors_over_steps([found])
    first = next(trace for trace in steps.data if trace.name.startswith("task 1: LDC"))
    expected = [100 * float(found.at("ldc-no-floor", 10.0, step, 4).errors[:, 0].mean()) for step in (5, 20, 60)]
    assert list(first.y) == pytest.approx([max(value, 0.01) for value in expected])
    moved = plots.displacements([found])
    assert list(moved.data[0].y) == pytest.approx(found.reported[0].displacement[0, 2].tolist())
    by_count = plots.error_by_number([found])
    assert {4, 2} <= {int(x) for trace in by_count.data for x in trace.x}
    front = next(trace for trace in plots.fronts([found]).data if trace.name == "EWC, exact Fisher")
    assert list(front.text) == ["λ = 1", "λ = 10"]
