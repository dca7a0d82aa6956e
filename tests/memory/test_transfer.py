import random

import pytest
import torch

from landscope.memory.report.transfer import average_error, backward_transfer, forgetting, is_on_frontier

ERROR = torch.tensor([[0.1, 0.9, 0.9, 1.0], [0.5, 0.2, 0.9, 1.0], [0.4, 0.6, 0.0, 1.0]]).double()


@pytest.mark.parametrize("tasks", [3, 4])  # with and without a task that is not learnt yet
def test_formulas_by_hand(tasks):
    error = ERROR[:, :tasks]
    assert average_error(error) == pytest.approx((0.4 + 0.6 + 0.0) / 3)
    assert forgetting(error) == pytest.approx(((0.4 - 0.1) + (0.6 - 0.2)) / 2)
    assert backward_transfer(error) == pytest.approx(((0.1 - 0.4) + (0.2 - 0.6)) / 2)


def test_forgetting_is_from_the_minimum_and_transfer_from_the_diagonal():
    error = torch.tensor([[0.5, 0.0, 0.0], [0.1, 0.2, 0.0], [0.3, 0.2, 0.0]]).double()
    assert forgetting(error) == pytest.approx(((0.3 - 0.1) + 0.0) / 2)
    assert backward_transfer(error) == pytest.approx(((0.5 - 0.3) + 0.0) / 2)


def test_one_task_is_not_forgotten():
    assert forgetting(ERROR[:1]) == backward_transfer(ERROR[:1]) == 0.0


def test_the_frontier_is_that_of_a_plain_loop():
    draw = random.Random(0)
    points = [(draw.randrange(6), draw.randrange(6)) for _ in range(40)]  # with ties and equal points

    def is_best(point):
        return not any(all(a <= b for a, b in zip(p, point, strict=True)) and p != point for p in points)

    found = is_on_frontier(torch.tensor(points).double())
    assert found.tolist() == [is_best(point) for point in points]


def test_a_point_without_a_number_is_not_on_the_frontier_and_hides_no_other():
    points = torch.tensor([[float("nan"), 0.0], [1.0, 1.0]])
    assert is_on_frontier(points).tolist() == [False, True]
