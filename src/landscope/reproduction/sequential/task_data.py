"""Tasks: parts of a data set that are learnt one after another."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from landscope.errors import InputError

__all__ = ["Labelled", "Task", "class_tasks", "joined_tasks"]

Labelled = tuple[Tensor, Tensor]
"""Inputs and labels."""


@dataclasses.dataclass(frozen=True)
class Task:
    """Something to learn.

    Args:
        name: What a person reads.
        train: Inputs and labels to learn from.
        test: Others, to be tested on.
    """

    name: str
    train: Labelled
    test: Labelled

    def with_inputs(self, train: Tensor, test: Tensor) -> Task:
        """The same labels with other inputs, such as what a frozen layer makes of them."""
        return Task(self.name, (train, self.train[1]), (test, self.test[1]))


def class_tasks(train: Labelled, test: Labelled, groups: Sequence[Sequence[int]]) -> list[Task]:
    """One task for each group of classes; labels stay as they are, so that all tasks share one output layer.

    Args:
        train: Inputs and labels of all classes.
        test: The same for testing.
        groups: Classes of each task, disjoint.

    Returns:
        The tasks, named by their classes.

    Raises:
        InputError: If a class is in two groups, or has no samples.

    Example:
        >>> import torch
        >>> data = (torch.eye(4), torch.tensor([0, 1, 2, 3]))
        >>> [len(task.train[1]) for task in class_tasks(data, data, [(0, 1), (2, 3)])]
        [2, 2]
    """
    classes = [label for group in groups for label in group]
    if not groups or len(set(classes)) < len(classes) or not all(groups):
        raise InputError(
            expected="groups of classes, each class in one of them",
            got="; ".join(",".join(map(str, group)) for group in groups) or "none",
            hint="For example 0,1 and 2,3.",
        )
    known = set(train[1].unique().tolist()) & set(test[1].unique().tolist())
    if missing := sorted(set(classes) - known):
        raise InputError(
            expected=f"classes of the training and test data: {', '.join(map(str, sorted(known)))}",
            got=", ".join(map(str, missing)),
            hint="Choose others, or train on more samples.",
        )
    return [Task(",".join(map(str, group)), _of(train, group), _of(test, group)) for group in groups]


def joined_tasks(tasks: Sequence[Task]) -> Task:
    """All tasks as one."""

    def both(part: str) -> Labelled:
        pairs = [getattr(task, part) for task in tasks]
        return torch.cat([inputs for inputs, _ in pairs]), torch.cat([labels for _, labels in pairs])

    return Task(" and ".join(task.name for task in tasks), both("train"), both("test"))


def _of(data: Labelled, group: Sequence[int]) -> Labelled:
    rows = torch.isin(data[1], torch.tensor(list(group), device=data[1].device)).nonzero()[:, 0]
    return data[0][rows], data[1][rows]
