"""A pretended clock: the share of the time that is spent never exceeds the budget, but for what is not known before."""

import itertools

import pytest

from landscope.monitoring.budget import Budget


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def trained(costs, *, share=0.05, step=0.1, n_steps=20_000, multiples=None, weights=None):
    """The measurements of a training as (name, step, seconds), and the largest of S - share T when one ended."""
    clock = Clock()
    budget = Budget(share, weights or dict.fromkeys(costs, 1.0), multiples or {}, clock)
    began, measured, over, draws = clock(), [], [], {name: itertools.cycle(each) for name, each in costs.items()}
    for number in range(n_steps):
        clock.now += step
        done = set()
        while not budget.is_early() and (name := budget.next([one for one in costs if one not in done])) is not None:
            seconds = next(draws[name])
            clock.now += seconds
            budget.charge(name, seconds)
            done.add(name)
            measured.append((name, number, seconds))
            over.append(budget.measuring - share * budget.training)
    assert budget.training + budget.measuring == pytest.approx(clock() - began)
    assert budget.measuring == pytest.approx(sum(seconds for _, _, seconds in measured))
    return measured, over, budget


def test_known_costs_keep_the_budget_after_the_first_measurements():
    costs = {"loss": [0.01], "noise": [0.3], "sharpness": [5.0]}
    measured, over, budget = trained(costs)
    first = {name: [i for i, one in enumerate(measured) if one[0] == name][:2] for name in costs}
    assert {name for name, *_ in measured[:6]} == set(costs)
    for place, (name, _, seconds) in enumerate(measured):
        allowed = seconds if place in first[name] else 1e-9  # an unknown cost begins within the budget
        assert over[place] <= allowed
    assert budget.measuring == pytest.approx(0.05 * budget.training, rel=0.1)  # and it is used
    shares = {name: sum(s for one, _, s in measured if one == name) / budget.measuring for name in costs}
    assert shares == pytest.approx(dict.fromkeys(costs, 1 / 3), abs=0.06)


def test_a_quantity_that_takes_every_step_leaves_the_rest_to_others():
    measured, _, budget = trained({"loss": [1e-5], "sharpness": [1.0]}, weights={"loss": 10.0, "sharpness": 1.0})
    assert sum(name == "loss" for name, *_ in measured) > 19_000
    assert budget.measuring > 0.048 * budget.training


def test_a_predicted_cost_is_saved_for():
    costs = {"loss": [0.01], "sharpness": [2.0]}
    measured, over, _ = trained(costs, multiples={"sharpness": ("loss", 200.0)})
    assert measured[0][0] == "loss"
    assert max(over[2:]) <= 1e-9
    assert sum(name == "sharpness" for name, *_ in measured) > 10


def test_what_cannot_be_afforded_is_not_measured():
    measured, over, budget = trained({"loss": [0.01], "dear": [1e4]}, multiples={"dear": ("loss", 1e6)})
    assert {name for name, *_ in measured} == {"loss"}
    assert max(over[2:]) <= 1e-9
    assert budget.expected("dear") == pytest.approx(1e4)


def test_a_dearer_measurement_is_paid_back_before_the_next():
    measured, over, _ = trained({"loss": [0.01] * 50 + [3.0]}, n_steps=5000)
    for place, (_, _, seconds) in enumerate(measured):
        assert over[place] <= seconds
        assert place == 0 or over[place - 1] <= 0.05 * 0.1 * (measured[place][1] - measured[place - 1][1]) + 1e-9


def test_most_steps_ask_the_clock_alone():
    clock = Clock()
    budget = Budget(0.05, {"loss": 1.0}, {}, clock)
    clock.now += 1
    assert budget.next(["loss"]) == "loss"
    clock.now += 1
    budget.charge("loss", 1.0)
    assert budget.next(["loss"]) is None
    assert budget.is_early()
    clock.now += 17  # 18 s of training are 0.9 s
    assert budget.is_early()
    clock.now += 3
    assert not budget.is_early()
    assert budget.next(["loss"]) == "loss"


def test_one_pause_of_the_machine_does_not_stop_a_quantity():
    """It is a debt of all, paid back from the whole income, and not expected again."""
    measured, _, _ = trained({"loss": [0.01] * 9 + [2.0] + [0.01] * 100_000, "dear": [1.0]}, n_steps=10_000)
    at = next(step for _, step, seconds in measured if seconds == 2.0)
    following = next(step for name, step, _ in measured if name == "loss" and step > at)
    assert following - at < 1.2 * 2.0 / 0.05 / 0.1 + 1.2 * 1.0 / 0.05 / 0.1
