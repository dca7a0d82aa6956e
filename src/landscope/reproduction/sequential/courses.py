"""The courses of a reproduction: which network, which tasks, and what was learnt before them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from landscope.reproduction.experiment.choices import Pretraining
from landscope.reproduction.experiment.experiment import Experiment
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.sequential.ablations import COMPARED, UNPROTECTED
from landscope.reproduction.sequential.course import Course
from landscope.reproduction.sequential.learning import Learner
from landscope.reproduction.sequential.task_data import class_tasks, joined_tasks

__all__ = ["PRETRAINING_EPOCHS", "begin_course", "in_turn_artefact"]

PRETRAINING_EPOCHS = 30
"""Longest training of the layers that are then frozen."""
_FRESH = 10_000
"""Added to the seed of the free weights, which start anew."""


def begin_course(
    settings: Settings, groups: Sequence[Sequence[int]], pretraining: Pretraining, n_modes: int | None = None
) -> Course:
    """A network before its first task.

    As in the paper, all layers are first trained on all tasks (``"tasks"``) or on all classes (``"all"``) until there
    is no training error; then the layers that are not selected are frozen, and the selected weights start anew. Both
    leak what the tasks are into the frozen layers; with ``"none"`` nothing is trained before, all weights are free.

    Args:
        settings: Data, network, selected weights, batch size, learning rate and seed.
        groups: Classes of each task.
        pretraining: What was learnt before.
        n_modes: Most modes that are found at the end of each task.

    Returns:
        The course.
    """
    problem = Experiment(settings)
    model = problem.network()
    tasks = class_tasks(problem.train_data, problem.test_data, groups)
    learner = Learner(settings.batch_size, settings.learning_rate, problem.criterion)
    if pretraining == "none":
        return Course.begin(model, settings.select, tasks, learner, settings.seed, n_modes)
    known = joined_tasks(tasks).train if pretraining == "tasks" else problem.train_data
    learner.until_learnt(model, known, seed=settings.seed, max_epochs=PRETRAINING_EPOCHS)
    course = Course.begin(model, problem.selection, tasks, learner, settings.seed, n_modes)
    fresh = Experiment(Settings.of({**settings.model_dump(), "seed": settings.seed + _FRESH})).network()
    own = dict(fresh.named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(own[name])
    return course


def in_turn_artefact(method: str, strength: float, n_modes: int, rank: int | None) -> str:
    """Under which name a run keeps what one way to learn tasks in turn gave."""
    if method in UNPROTECTED:
        return f"in-turn-{method}"
    modes = n_modes if COMPARED[method].takes_modes else 0
    return f"in-turn-{method}-{strength:g}-{modes}" + ("" if rank is None else f"-rank{rank}")
