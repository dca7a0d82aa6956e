"""Another level of the loss: landscapes in which it changes nothing, and in which it changes the order."""

import dataclasses

import pytest
import torch

from known import flatness_of, statistics_of
from landscope.claims.ratio_two import ratio_measurements
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
