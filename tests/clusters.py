"""Six clusters in eight dimensions, and a network that is prepared to learn them pair by pair."""

import dataclasses

import torch

from landscope.reproduction.experiment.networks import mlp
from landscope.reproduction.sequential.first_task import FirstTask
from landscope.reproduction.sequential.frozen_prefix import FrozenPrefix
from landscope.reproduction.sequential.methods import MethodSettings
from landscope.reproduction.sequential.preparation import SequentialTraining
from landscope.reproduction.sequential.task_data import class_tasks
from landscope.reproduction.sequential.trainer import train_sequentially
from landscope.reproduction.sequential.training import TaskTraining

PAIR = ((0, 1), (2, 3))
THREE = ((0, 1), (2, 3), (4, 5))
TRAINING = TaskTraining(batch_size=10, window_steps=60, window_epochs=2)


def clusters():
    generator = torch.Generator().manual_seed(0)
    centres = 2 * torch.randn(6, 8, generator=generator)
    labels = torch.arange(6).repeat(40)
    return centres[labels] + 0.3 * torch.randn(240, 8, generator=generator), labels


DATA = clusters()


def prepared(groups=PAIR, seed=0, **changes):
    """A network that learnt all classes, its hidden weights made anew."""
    tasks, training = class_tasks(DATA, DATA, groups), dataclasses.replace(TRAINING, seed=seed)
    model = mlp([8, 12, 12, 6], seed=seed)
    before = dataclasses.replace(training, epochs=20)
    before.until_learnt(model, DATA, before.optimizer(model), seed)
    with torch.no_grad():
        model[2].weight.copy_(mlp([8, 12, 12, 6], seed=seed + 50)[2].weight)
    prefix = FrozenPrefix(model, "2.weight", probe=tasks[0].test[0][:3])
    return SequentialTraining(
        prefix.part, [prefix.task(task) for task in tasks], dataclasses.replace(training, **changes)
    )


def learn_first(setup):
    """The snapshot of the first task, and its row of results."""
    first = FirstTask(setup.model, setup.tasks, setup.training, seed=setup.training.order(0))
    return first.snapshot, first.result.rows()


def learn_all(setup, *method, **options):
    return train_sequentially(setup.model, setup.tasks, MethodSettings(*method), setup.training, **options)
