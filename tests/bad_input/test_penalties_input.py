import pytest
import torch

import landscope as ls
from landscope.errors import InputError, NonFiniteError

GOOD = {"anchor": torch.zeros(4), "directions": torch.eye(4)[:2], "stiffness": torch.ones(2)}


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"stiffness": torch.ones(3)}, InputError, "2 stiffnesses, one a direction"),
        ({"directions": None}, InputError, "4 stiffnesses, one a weight"),
        ({"directions": None, "stiffness": torch.ones(4), "floor": 1.0}, InputError, "no floor"),
        ({"stiffness": torch.tensor([1.0, -1.0])}, InputError, "at least 0"),
        ({"stiffness": torch.tensor([1.0, torch.inf])}, NonFiniteError, "stiffness"),
        ({"directions": 2 * torch.eye(4)[:2]}, InputError, "orthonormal"),
        ({"directions": torch.eye(5)[:2]}, InputError, "4 selected parameters"),
        ({"floor": -1.0}, InputError, "floor"),
        ({"strength": float("nan")}, InputError, "strength"),
    ],
)
def test_a_penalty_that_makes_no_sense_is_refused(change, error, says):
    with pytest.raises(error, match=says):
        ls.QuadraticPenalty(**(GOOD | change))


def test_weights_of_another_model_and_steps_of_no_size_are_refused():
    penalty = ls.QuadraticPenalty(**GOOD)
    with pytest.raises(InputError, match="4 selected parameters"):
        penalty(torch.zeros(5))
    with pytest.raises(InputError, match="step_size"):
        penalty.proximal_step(torch.zeros(4), 0.0)
