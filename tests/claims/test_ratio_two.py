"""Another level of the loss: landscapes in which it changes nothing, and in which it changes the order."""

import dataclasses
import itertools

import pytest
import torch

from known import flatness_of, statistics_of
from landscope.claims.ratio_two import _reach_of_random_order, ratio_measurements
from landscope.law.exponents import fit_exponents
from verdicts import verdicts

WIDTH = torch.logspace(0, 2, 40).double()
MOTION = statistics_of(WIDTH**-4.0)


def at_two(width):
    return dataclasses.replace(flatness_of(width), ratio=2.0)


@pytest.mark.parametrize(
    ("width", "psi", "order"),
    [
        (0.83 * WIDTH, "reproduced", "reproduced"),
        (WIDTH**0.5, "not reproduced", "reproduced"),  # psi becomes 8
        (WIDTH.flip(0), "not reproduced", "not reproduced"),
    ],
)
def test_widths_in_proportion_change_nothing(width, psi, order):
    found = ratio_measurements(flatness_of(WIDTH), at_two(width), MOTION, MOTION, (2, 40))
    assert verdicts(found) == {"psi_at_ratio_two": psi, "order_at_ratio_two": order}


def test_the_note_has_the_known_ratios_and_fresh_data_decide_too():
    found = ratio_measurements(flatness_of(WIDTH), at_two(0.83 * WIDTH), MOTION, None, (2, 40))
    note = found["psi_at_ratio_two"].note
    assert "0.830; to 0.833 where ln L is quadratic, 0.763 where L is" in note
    assert verdicts(found)["psi_at_ratio_two"] == "undecided"


@pytest.mark.parametrize(("psi", "expected"), [(4.0, "reproduced"), (0.1, "contested")])
def test_a_relation_too_weak_to_change_contests(psi, expected):
    """psi of 0.1 is within 0.5 of the psi that widths in any order have."""
    motion = statistics_of(WIDTH**-psi)
    found = ratio_measurements(flatness_of(WIDTH), at_two(0.83 * WIDTH), motion, motion, (2, 40))
    assert verdicts(found)["psi_at_ratio_two"] == expected


def test_the_null_is_that_of_all_orders_and_few_modes_have_their_order_by_chance():
    """Twin: the exponent over every order of five widths."""
    motion, few = statistics_of(torch.tensor([9.0, 3.0, 2.5, 1.0, 0.2]).double()), WIDTH[:5]
    found = ratio_measurements(flatness_of(few), at_two(0.83 * few), motion, motion, (1, 5))
    y = motion.variance.log()
    slopes = [-float(torch.corrcoef(torch.stack([few[list(order)].log(), y]))[0, 1] * y.std() / few.log().std())
              for order in itertools.permutations(range(5))]  # fmt: skip
    orders = torch.tensor(slopes, dtype=torch.float64)
    assert float(orders.mean()) == pytest.approx(0.0, abs=1e-9)
    reach = _reach_of_random_order(at_two(0.83 * few), motion, (1, 5))
    assert reach == pytest.approx(1.96 * float(orders.std(correction=0)), rel=1e-6)
    psi = fit_exponents("", motion, flatness_of(few), (1, 5)).psi
    # So few widths may change psi by less than 0.5 in any order, and their null says so.
    assert -reach - psi < 0.5
    assert reach - psi > -0.5
    assert f"change psi by {-reach - psi:.2g} to {reach - psi:.2g}" in str(found["psi_at_ratio_two"].controls[0])
    assert verdicts(found)["order_at_ratio_two"] == "reproduced"
    short = ratio_measurements(flatness_of(few[:4]), at_two(0.83 * few[:4]), statistics_of(motion.variance[:4]), None,
                               (1, 4))  # fmt: skip
    assert verdicts(short)["order_at_ratio_two"] == "contested"  # 1.96/sqrt(3) is above 1
