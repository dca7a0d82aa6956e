"""Where the field measures: tasks in turn that differ in what a network is told and asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from landscope._checks import check_choice, check_count
from landscope.errors import InputError
from landscope.reproduction.sequential.task_data import Labelled, Task, class_tasks

__all__ = ["Answers", "Kind", "Scenario", "permuted_scenario", "split_scenario"]

Kind = Literal["task", "domain", "class"]
"""What is known of a test sample (van de Ven & Tolias, arXiv 1904.07734): its task; not its task, which does not
matter; nothing, and the class among all is asked for."""


@dataclasses.dataclass(frozen=True)
class Scenario:
    """Tasks in turn.

    Args:
        name: What a person reads.
        tasks: Their data; labels count within the outputs that may answer.
        outputs: Which outputs may answer in each task.
        n_outputs: Of the network.
        has_heads: Whether tasks have outputs of their own, so that what they share is all but the last layer.
    """

    name: str
    tasks: Sequence[Task]
    outputs: Sequence[tuple[int, ...]]
    n_outputs: int
    has_heads: bool


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
        ...     scenario = split_scenario(data, data, [(0, 1), (2, 3)], kind)
        ...     print(scenario.tasks[1].train[1].tolist(), scenario.outputs[1])
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
    first = [sum(len(group) for group in groups[:number]) for number in range(len(groups))]
    total = first[-1] + len(groups[-1])
    tasks, outputs = [], []
    for task, group, start in zip(class_tasks(train, test, groups), groups, first, strict=True):
        base = start if kind == "class" else 0
        tasks.append(Task(task.name, _renamed(task.train, group, base), _renamed(task.test, group, base)))
        own = range(start, start + len(group)) if kind == "task" else range(total if kind == "class" else len(group))
        outputs.append(tuple(own))
    n_outputs = len(groups[0]) if kind == "domain" else total
    return Scenario(f"{kind}-incremental", tasks, outputs, n_outputs, has_heads=kind == "task")


def _renamed(data: Labelled, group: Sequence[int], base: int) -> Labelled:
    """Labels by their place in the group."""
    labels = torch.zeros_like(data[1])
    for place, label in enumerate(group):
        labels[data[1] == label] = base + place
    return data[0], labels


def permuted_scenario(train: Labelled, test: Labelled, n_tasks: int, seed: int) -> Scenario:
    """The same classes, the inputs of each task in another order; the first as they are.

    Args:
        train: Inputs and labels.
        test: The same for testing.
        n_tasks: Number of tasks.
        seed: Of the orders.

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
        Task(f"order {number + 1}", _reordered(train, order), _reordered(test, order))
        for number, order in enumerate(orders)
    ]
    return Scenario("permuted", tasks, [tuple(range(classes))] * n_tasks, classes, has_heads=False)


def _reordered(data: Labelled, order: Tensor) -> Labelled:
    inputs, labels = data
    return inputs.flatten(1)[:, order.to(inputs.device)].view_as(inputs), labels


class Answers(nn.Module):
    """A network of which some outputs may answer.

    Args:
        body: The network, with all outputs.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body, self.outputs = body, slice(None)

    def ask(self, outputs: Sequence[int]) -> None:
        """Let these outputs answer from now on; they lie side by side."""
        self.outputs = slice(outputs[0], outputs[-1] + 1)

    def forward(self, x: Any) -> Any:
        """``[b, ...] -> [b, outputs]``; of anything, as it is also traced."""
        return self.body(x)[:, self.outputs]
