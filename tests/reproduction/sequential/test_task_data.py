"""Tasks of classes and of scenarios."""

import pytest
import torch

from clusters import DATA, PAIR
from landscope.errors import InputError
from landscope.reproduction.sequential.scenarios import n_outputs, permuted_scenario, split_scenario
from landscope.reproduction.sequential.task_data import class_tasks, joined_tasks


def test_tasks_hold_the_samples_of_their_classes_and_nothing_else():
    first, second = class_tasks(DATA, DATA, PAIR)
    assert first.train[1].unique().tolist() == [0, 1]
    assert torch.equal(first.train[0], DATA[0][(DATA[1] == 0) | (DATA[1] == 1)])
    both = joined_tasks([first, second])
    assert len(both.test[1]) == len(first.test[1]) + len(second.test[1])


@pytest.mark.parametrize(("groups", "says"), [
    (((0, 1), (1, 2)), "each class in one"), (((0,), (9,)), "0, 1, 2, 3, 4, 5"), ((), "groups of classes"),
    (((0, 1), ()), "groups of classes"),
])  # fmt: skip
def test_groups_that_make_no_tasks_are_refused(groups, says):
    with pytest.raises(InputError, match=says):
        class_tasks(DATA, DATA, groups)


def test_groups_of_unlike_size_make_no_scenario():
    for groups in ([], ((0, 1, 2), (3, 4))):
        with pytest.raises(InputError, match="as many classes"):
            split_scenario(DATA, DATA, groups, "task")


@pytest.mark.parametrize("kind", ["task", "domain", "class"])
def test_labels_count_within_the_outputs_that_may_answer(kind):
    tasks = split_scenario(DATA, DATA, ((0, 1), (2, 3), (4, 5)), kind)
    for task in tasks:
        assert int(task.train[1].max()) == (len(task.outputs) - 1 if kind != "class" else int(task.name[-1]))
        assert max(task.outputs) < n_outputs(tasks)
    assert n_outputs(tasks) == (2 if kind == "domain" else 6)


def test_permuted_inputs_are_the_same_numbers_in_another_order():
    first, second = permuted_scenario(DATA, DATA, 3, seed=0)[:2]
    assert torch.equal(first.train[0], DATA[0])
    assert torch.equal(first.train[0].sort(dim=1).values, second.train[0].sort(dim=1).values)
    assert not torch.equal(first.train[0], second.train[0])
