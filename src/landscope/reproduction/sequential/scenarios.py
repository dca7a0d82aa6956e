"""Scenarios of continual learning: sequences of tasks that share a network in different ways."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from landscope._checks import generator_of
from landscope.errors import InputError
from landscope.reproduction.sequential.task_data import Labelled, Task, class_tasks

__all__ = ["Kind", "growing_outputs", "n_outputs", "permuted_scenario", "split_scenario"]

Kind = Literal["task", "domain", "class"]
"""What is known of a test sample (van de Ven & Tolias, arXiv 1904.07734): its task; not its task, which does not
matter; nothing, and the class among all classes is asked for."""


def n_outputs(tasks: Sequence[Task]) -> int:
    """Outputs that a network of these tasks needs."""
    return 1 + max(max(task.outputs or (0,)) for task in tasks)


def split_scenario(train: Labelled, test: Labelled, groups: Sequence[Sequence[int]], kind: Kind) -> list[Task]:
    """Some classes after others, as many in each group.

    With ``"task"`` only the outputs of its own task may answer; with ``"domain"`` all tasks share outputs, for the
    first class of each, the second, and so on; with ``"class"`` every class has an output, and all may answer.

    Raises:
        InputError: If a class is in two groups or has no samples, or groups differ in size.

    Example:
        >>> import torch
        >>> data = (torch.eye(4), torch.tensor([0, 1, 2, 3]))
        >>> for kind in ("task", "domain", "class"):
        ...     task = split_scenario(data, data, [(0, 1), (2, 3)], kind)[1]
        ...     print(task.train[1].tolist(), task.outputs)
        [0, 1] (2, 3)
        [0, 1] (0, 1)
        [2, 3] (0, 1, 2, 3)
    """
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
    return tasks


def growing_outputs(tasks: Sequence[Task]) -> list[Task]:
    """Tasks of one class-incremental scenario, of which each trains only the outputs of its classes and earlier ones.

    In the tests all outputs may answer.

    Example:
        >>> import torch
        >>> data = (torch.eye(4), torch.tensor([0, 1, 2, 3]))
        >>> tasks = growing_outputs(split_scenario(data, data, [(0, 1), (2, 3)], "class"))
        >>> [(task.outputs, task.tested) for task in tasks]
        [((0, 1), (0, 1, 2, 3)), ((0, 1, 2, 3), (0, 1, 2, 3))]
    """
    return [
        dataclasses.replace(task, outputs=tuple(range(int(task.train[1].max()) + 1)), asked=task.outputs)
        for task in tasks
    ]


def _renumbered(data: Labelled, group: Sequence[int], base: int) -> Labelled:
    """Labels by their place in the group."""
    labels = torch.zeros_like(data[1])
    for place, label in enumerate(group):
        labels[data[1] == label] = base + place
    return data[0], labels


def permuted_scenario(train: Labelled, test: Labelled, n_tasks: int, seed: int) -> list[Task]:
    """The same classes with the inputs of each task in another random order; the first task has them as they are."""
    dim, classes = train[0][0].numel(), int(train[1].max()) + 1
    generator = generator_of(seed)
    orders = [torch.arange(dim), *(torch.randperm(dim, generator=generator) for _ in range(n_tasks - 1))]
    return [
        Task(f"order {number + 1}", _reordered(train, order), _reordered(test, order), tuple(range(classes)))
        for number, order in enumerate(orders)
    ]


def _reordered(data: Labelled, order: Tensor) -> Labelled:
    inputs, labels = data
    return inputs.flatten(1)[:, order.to(inputs.device)].view_as(inputs), labels
