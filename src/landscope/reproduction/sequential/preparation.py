"""Networks before their first task: pretrained, partly frozen, with the tasks that they will learn."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Generator, Sequence

import torch
from torch import nn

from landscope.reproduction.experiment.experiment import Experiment
from landscope.reproduction.experiment.settings import Pretraining, Settings
from landscope.reproduction.sequential.frozen_prefix import FrozenPrefix
from landscope.reproduction.sequential.task_data import Task, class_tasks, joined_tasks
from landscope.reproduction.sequential.training import TaskTraining

__all__ = ["PRETRAINING_EPOCHS", "SequentialTraining", "prepare_class_tasks", "unchanged"]

PRETRAINING_EPOCHS = 30
"""Longest training of the layers that are then frozen."""
_NEW_WEIGHTS = 10_000
"""Added to the seed of the free weights, which start anew."""


@dataclasses.dataclass(frozen=True)
class SequentialTraining:
    """A network, its tasks, and how it learns them.

    Args:
        model: The network, or the part of it that follows its frozen layers.
        tasks: The tasks, with the inputs that ``model`` reads.
        training: How each task is learnt.
    """

    model: nn.Module
    tasks: Sequence[Task]
    training: TaskTraining


def prepare_class_tasks(
    settings: Settings,
    groups: Sequence[Sequence[int]],
    pretraining: Pretraining,
    *,
    pretraining_epochs: int = PRETRAINING_EPOCHS,
    **changes: int,
) -> SequentialTraining:
    """Prepare a network to learn some classes after others.

    As in the paper, all layers are first trained on all tasks (``"tasks"``) or on all classes (``"all"``) until there
    is no training error; then the layers that are not selected are frozen, and the selected weights start anew. Both
    leak what the tasks are into the frozen layers; with ``"none"`` nothing is trained before, all weights are free.

    Args:
        settings: Data, network, selected weights, batch size, learning rate and seed.
        groups: Classes of each task.
        pretraining: Data of the training before.
        pretraining_epochs: Longest training before.
        **changes: Changes of :class:`TaskTraining`, such as ``epochs``.

    Raises:
        InputError: If the groups make no tasks of these data.
    """
    experiment = Experiment(settings)
    model = experiment.network()
    tasks = class_tasks(experiment.train_data, experiment.test_data, groups)
    training = TaskTraining(
        batch_size=settings.batch_size, learning_rate=settings.learning_rate, seed=settings.seed,
        criterion=experiment.criterion,
    )  # fmt: skip
    select = settings.select
    if pretraining != "none":
        known = joined_tasks(tasks).train if pretraining == "tasks" else experiment.train_data
        before = dataclasses.replace(training, epochs=pretraining_epochs)
        before.until_learnt(model, known, before.optimizer(model), settings.seed)
        select = experiment.selection
    prefix = FrozenPrefix(model, select, probe=tasks[0].test[0][:3])
    tasks = [prefix.task(task) for task in tasks]
    if pretraining != "none":
        _start_anew(model, Settings.of({**settings.model_dump(), "seed": settings.seed + _NEW_WEIGHTS}))
    return SequentialTraining(prefix.part, tasks, dataclasses.replace(training, **changes))


@torch.no_grad()
def _start_anew(model: nn.Module, settings: Settings) -> None:
    """Give the free parameters new initial values."""
    initial = dict(Experiment(settings).network().named_parameters())
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.copy_(initial[name])


@contextlib.contextmanager
def unchanged(model: nn.Module) -> Generator[None]:
    """Put parameters and buffers back when the block ends."""
    before = copy.deepcopy(model.state_dict())
    try:
        yield
    finally:
        model.load_state_dict(before)
