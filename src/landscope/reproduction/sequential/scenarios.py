"""Scenarios of continual learning: tasks that share a network in different ways."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from landscope._checks import check_choice, check_count
from landscope.errors import InputError
from landscope.reproduction.sequential.task_data import Labelled, Task, class_tasks

__all__ = ["Kind", "Scenario", "permuted_scenario", "split_scenario"]

Kind = Literal["task", "domain", "class"]
"""What is known of a test sample (van de Ven & Tolias, arXiv 1904.07734): its task; not its task, which does not
matter; nothing, and the class among all classes is asked for."""


@dataclasses.dataclass(frozen=True)
class Scenario:
    """A sequence of tasks.

    Args:
        tasks: The tasks, each with the outputs that may answer; labels count within them.
        n_outputs: Outputs of the network.
    """

    tasks: Sequence[Task]
    n_outputs: int


def split_scenario(train: Labelled, test: Labelled, groups: Sequence[Sequence[int]], kind: Kind) -> Scenario:
    """Some classes after others.

    Args:
        train: Inputs and labels of all classes.
        test: The same for testing.
        groups: Classes of each task, as many in each.
        kind: ``"task"``: the task is known, and only its own outputs may answer; ``"domain"``: all tasks share outputs,
            for the first class of each, the second, and so on; ``"class"``: every class has an output, and all may
            answer.

    Returns:
        The scenario.

    Raises:
        InputError: If a class is in two groups or has no samples, groups differ in size, or the kind is unknown.

    Example:
        >>> import torch
        >>> data = (torch.eye(4), torch.tensor([0, 1, 2, 3]))
        >>> for kind in ("task", "domain", "class"):
        ...     task = split_scenario(data, data, [(0, 1), (2, 3)], kind).tasks[1]
        ...     print(task.train[1].tolist(), task.outputs)
        [0, 1] (2, 3)
        [0, 1] (0, 1)
        [2, 3] (0, 1, 2, 3)
    """
    check_choice("kind", kind, ("task", "domain", "class"))
    if len({len(group) for group in groups}) != 1:
        raise InputError(
            expected="as many classes in each group", got=f"{[len(group) for group in groups]}",
            hint="Give every task as many classes.",
        )  # fmt: skip
    size, total = len(groups[0]), len(groups[0]) * len(groups)
    tasks = []
    for number, (task, group) in enumerate(zip(class_tasks(train, test, groups), groups, strict=True)):
        first = number * size
        outputs = {"task": range(first, first + size), "domain": range(size), "class": range(total)}[kind]
        data = (_renumbered(part, group, first if kind == "class" else 0) for part in (task.train, task.test))
        tasks.append(Task(task.name, *data, outputs=tuple(outputs)))
    return Scenario(tasks, size if kind == "domain" else total)


def _renumbered(data: Labelled, group: Sequence[int], base: int) -> Labelled:
    """Labels by their place in the group."""
    labels = torch.zeros_like(data[1])
    for place, label in enumerate(group):
        labels[data[1] == label] = base + place
    return data[0], labels


def permuted_scenario(train: Labelled, test: Labelled, n_tasks: int, seed: int) -> Scenario:
    """The same classes with the inputs of each task in another order; the first task has them as they are.

    Args:
        train: Inputs and labels.
        test: The same for testing.
        n_tasks: Number of tasks.
        seed: Seed of the orders.

    Returns:
        The scenario.

    Raises:
        InputError: If there are fewer than two tasks.

    Example:
        >>> import torch
        >>> data = (torch.arange(8.0).view(2, 4), torch.tensor([0, 1]))
        >>> [task.name for task in permuted_scenario(data, data, 2, seed=0).tasks]
        ['order 1', 'order 2']
    """
    check_count("n_tasks", n_tasks, minimum=2)
    dim, classes = train[0][0].numel(), int(train[1].max()) + 1
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.arange(dim), *(torch.randperm(dim, generator=generator) for _ in range(n_tasks - 1))]
    tasks = [
        Task(f"order {number + 1}", _reordered(train, order), _reordered(test, order), tuple(range(classes)))
        for number, order in enumerate(orders)
    ]
    return Scenario(tasks, classes)


def _reordered(data: Labelled, order: Tensor) -> Labelled:
    inputs, labels = data
    return inputs.flatten(1)[:, order.to(inputs.device)].view_as(inputs), labels
