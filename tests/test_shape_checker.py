"""The run-time checks of the tests: shapes where there are any, types everywhere."""

import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float, TypeCheckError, jaxtyped
from torch import Tensor

from shape_checker import checked


@jaxtyped(typechecker=checked)
def doubled(x: float) -> float:
    return 2 * x if x < 10 else "large"


@jaxtyped(typechecker=checked)
def added(x: Float[Tensor, " n"], y: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    return x + y


@jaxtyped(typechecker=checked)
def mapped(rows: list[Float[Tensor, " n"]]) -> int:
    return len(rows)


def test_arguments_and_results_of_a_wrong_type_are_refused():
    assert doubled(3) == 6  # an int is as good as a float
    for wrong in ("3", 10.0):
        with pytest.raises(BeartypeCallHintViolation):
            doubled(wrong)


def test_shapes_are_compared_across_arguments_and_inside_containers():
    assert added(torch.ones(2), torch.ones(2)).tolist() == [2, 2]
    with pytest.raises(TypeCheckError):
        added(torch.ones(2), torch.ones(3))
    assert mapped([torch.ones(2), torch.ones(2)]) == 2
    with pytest.raises(TypeCheckError):
        mapped([torch.ones(2, 2)])  # of several items beartype checks one at random
