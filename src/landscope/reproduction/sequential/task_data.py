"""Tasks: parts of a data set that are learnt one after another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscope.errors import InputError

__all__ = [
    "Criterion", "Labelled", "SelectedOutputs", "Task", "class_tasks", "have_heads", "joined_tasks", "joint_task",
]  # fmt: skip

Labelled = tuple[Tensor, Tensor]
"""Inputs and labels."""
Criterion = Callable[..., Any]
"""``criterion(outputs, labels)``: the losses of a minibatch, or their mean; or their sum and count."""


@dataclasses.dataclass(frozen=True)
class Task:
    """One task.

    Args:
        name: Name for a reader.
        train: Training inputs and labels.
        test: Test inputs and labels.
        outputs: Outputs of the network that may answer, side by side; all by default. Labels count within them.
        asked: Outputs that may answer in its test, from the same first one, where they are not those of its training.
    """

    name: str
    train: Labelled
    test: Labelled
    outputs: tuple[int, ...] | None = None
    asked: tuple[int, ...] | None = None

    @property
    def tested(self) -> tuple[int, ...] | None:
        """Outputs that may answer in its test; all for None."""
        return self.outputs if self.asked is None else self.asked

    def with_inputs(self, train: Tensor, test: Tensor) -> Task:
        """The same labels with other inputs, such as the features of frozen layers."""
        return dataclasses.replace(self, train=(train, self.train[1]), test=(test, self.test[1]))


def class_tasks(train: Labelled, test: Labelled, groups: Sequence[Sequence[int]]) -> list[Task]:
    """One task for each group of classes; labels stay as they are, so that all tasks share one output layer.

    Raises:
        InputError: If a class is in two groups, or has no samples.
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
            hint="Choose other classes, or train on more samples.",
        )
    return [Task(",".join(map(str, group)), _subset(train, group), _subset(test, group)) for group in groups]


def _subset(data: Labelled, group: Sequence[int]) -> Labelled:
    rows = torch.isin(data[1], torch.tensor(list(group), device=data[1].device)).nonzero()[:, 0]
    return data[0][rows], data[1][rows]


def joined_tasks(tasks: Sequence[Task]) -> Task:
    """All tasks as one, of the outputs of the last."""

    def concatenated(part: str) -> Labelled:
        pairs = [getattr(task, part) for task in tasks]
        return torch.cat([inputs for inputs, _ in pairs]), torch.cat([labels for _, labels in pairs])

    name = " and ".join(task.name for task in tasks)
    return Task(name, concatenated("train"), concatenated("test"), tasks[-1].outputs)


def have_heads(tasks: Sequence[Task]) -> bool:
    """Whether tasks have outputs of their own, so that they share all layers but the last."""
    return len({task.tested for task in tasks}) > 1


def joint_task(tasks: Sequence[Task], criterion: Criterion) -> tuple[Task, Criterion]:
    """All tasks as one task and its loss; where tasks have heads, each sample is answered by the head of its task.

    Heads are of one size, side by side from output 0.

    Example:
        >>> import torch
        >>> data = (torch.eye(2), torch.tensor([0, 1]))
        >>> heads = [Task("a", data, data, (0, 1)), Task("b", data, data, (2, 3))]
        >>> joint, loss = joint_task(heads, torch.nn.functional.cross_entropy)
        >>> joint.train[1].tolist(), joint.outputs
        ([0, 1, 2, 3], None)
        >>> logits = torch.tensor([[9.0, 9.0, 30.0, 0.0]])  # the other head has no say
        >>> float(loss(logits, torch.tensor([2])))
        0.0
    """
    if not have_heads(tasks):
        return joined_tasks(tasks), criterion
    width = len(tasks[0].outputs or ())

    def shifted(task: Task) -> Task:
        first = task.outputs[0] if task.outputs else 0
        train, test = ((inputs, labels + first) for inputs, labels in (task.train, task.test))
        return Task(task.name, train, test)

    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        head = torch.arange(width, device=labels.device)
        return criterion(outputs.gather(1, (labels - labels % width)[:, None] + head), labels % width)

    return joined_tasks([shifted(task) for task in tasks]), loss


class SelectedOutputs(nn.Module):
    """A network of which only the outputs of one task answer.

    Args:
        body: The network, with all outputs.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body, self.columns = body, slice(None)

    def select(self, outputs: tuple[int, ...] | None) -> None:
        """Let these outputs, which lie side by side, answer from now on; all for None."""
        self.columns = slice(None) if outputs is None else slice(outputs[0], outputs[-1] + 1)

    def forward(self, x: Any) -> Any:
        """``[b, ...] -> [b, outputs]``; annotated loosely because it is also traced."""
        return self.body(x)[:, self.columns]
