"""Tasks of a scenario learnt in turn, with one way to keep the earlier ones."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscope._checks import check_choice
from landscope.memory.task_memory import TaskMemory
from landscope.reproduction.experiment.training import evaluate, train
from landscope.reproduction.sequential.ablations import COMPARED, UNPROTECTED, method_label
from landscope.reproduction.sequential.baselines.path_integral import SynapticIntelligence
from landscope.reproduction.sequential.baselines.projection import GradientProjectionMemory, OrthogonalGradientDescent
from landscope.reproduction.sequential.baselines.protocol import Memory
from landscope.reproduction.sequential.baselines.replay import Replay
from landscope.reproduction.sequential.scenarios import Answers, Scenario
from landscope.reproduction.sequential.sequence import LearntTask, TasksInTurn
from landscope.reproduction.sequential.task_data import Labelled, joined_tasks
from landscope.results import stamp
from landscope.sampling import MinibatchOrder

__all__ = ["Schooling", "learn_scenario", "rival_name"]

_RIVALS: Mapping[str, str] = {
    "si": "synaptic intelligence",
    "gpm": "GPM",
    "ogd": "OGD, 200 gradients a task",
    "replay": "replay, 100 samples a task",
}
_ORDERS = 1000


@dataclasses.dataclass(frozen=True)
class Schooling:
    """How every task is learnt, and what is kept of it.

    Args:
        epochs: Of each task.
        batch_size: B.
        learning_rate: alpha of plain SGD.
        n_modes: Directions that each task holds.
        window: Latest steps that are looked back on.
        rank: Directions that all tasks together keep.
        max_samples: Samples of a task that its loss is measured on, the first ones.
    """

    epochs: int = 1
    batch_size: int = 50
    learning_rate: float = 0.1
    n_modes: int = 50
    window: int = 200
    rank: int | None = 100
    max_samples: int = 1000


def rival_name(method: str) -> str:
    """What a person reads for a way to keep tasks."""
    return _RIVALS[method] if method in _RIVALS else method_label(method)


def learn_scenario(
    scenario: Scenario,
    make_network: Callable[[int], nn.Module],
    method: str,
    *,
    strength: float = math.nan,
    schooling: Schooling | None = None,
    seed: int = 0,
) -> TasksInTurn:
    """Learn all tasks of a scenario in turn.

    Args:
        scenario: The tasks.
        make_network: ``make_network(n_outputs)``; its parameters are trained, all of them.
        method: A key of ``ablations.COMPARED``; ``"si"``, ``"gpm"``, ``"ogd"``, ``"replay"``; ``"none"``; or
            ``"joint"``: all tasks so far together, each asked for all outputs it may give.
        strength: lambda, c of SI, the threshold of GPM, passed over by others; that of the method by default, where it
            has one.
        schooling: How; that of the class by default.
        seed: Of the minibatches and what is drawn.

    Returns:
        Errors of all tasks after each, times, and what was stored.

    Raises:
        InputError: If the method is none of these, or needs another strength.
    """
    check_choice("method", method, (*UNPROTECTED, *COMPARED, *_RIVALS))
    how = Schooling() if schooling is None else schooling
    model = Answers(make_network(scenario.n_outputs))
    memory = _memory_of(method, model, _shared(model) if scenario.has_heads else None, strength, how, seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=how.learning_rate)
    learnt: list[LearntTask] = []
    for number, outputs in enumerate(scenario.outputs):
        model.ask(outputs)
        begun = time.perf_counter()
        with memory.training(optimizer) if memory is not None else contextlib.nullcontext():
            taken = _learn(model, scenario, number, optimizer, how, seed, joint=method == "joint")
        seconds = time.perf_counter() - begun
        begun, directions = time.perf_counter(), 0
        if memory is not None and number + 1 < len(scenario.tasks):
            memory.consolidate(F.cross_entropy, _few(scenario.tasks[number].train, how.max_samples))
            directions = memory.n_held if isinstance(memory, TaskMemory) else 0
        keeping, stored = time.perf_counter() - begun, 0 if memory is None else memory.n_stored
        learnt.append(LearntTask(_errors(model, scenario), seconds, keeping, stored, directions, taken))
    return TasksInTurn.of(
        learnt, method=method, strength=strength, n_modes=how.n_modes, rank=how.rank,
        tasks=tuple(task.name for task in scenario.tasks), dim=sum(p.numel() for p in model.parameters()),
        provenance=stamp(scenario=scenario.name, seed=seed, **dataclasses.asdict(how)),
    )  # fmt: skip


def _memory_of(
    method: str, model: Answers, select: list[str] | None, strength: float, how: Schooling, seed: int
) -> Memory | None:
    if method in COMPARED:
        own = None if math.isnan(strength) else strength
        return TaskMemory(
            model, select, method=COMPARED[method], strength=own, n_modes=how.n_modes, window=how.window, rank=how.rank
        )
    make: dict[str, Callable[[], Memory]] = {
        "si": lambda: SynapticIntelligence(model, select, strength=strength),
        "gpm": lambda: GradientProjectionMemory(model, select, threshold=strength),
        "ogd": lambda: OrthogonalGradientDescent(model, select, seed=seed),
        "replay": lambda: _ReplayOfAnswers(model, seed),
    }
    return make[method]() if method in make else None


class _ReplayOfAnswers(Replay):
    """Kept samples are asked what they were asked in their task."""

    def __init__(self, model: Answers, seed: int) -> None:
        super().__init__(model.body, seed=seed)
        self._answers = model

    def consolidate(self, criterion: Callable[..., Tensor], data: Labelled) -> None:
        asked = self._answers.outputs
        super().consolidate(lambda outputs, labels: criterion(outputs[:, asked], labels), data)


def _shared(model: Answers) -> list[str]:
    """All layers but the last."""
    names = [name for name, _ in model.named_parameters()]
    last = names[-1].rpartition(".")[0]
    return [name for name in names if name.rpartition(".")[0] != last]


def _few(data: Labelled, count: int) -> Labelled:
    return data[0][:count], data[1][:count]


def _learn(
    model: Answers, scenario: Scenario, number: int, optimizer: torch.optim.Optimizer, how: Schooling, seed: int, *,
    joint: bool,
) -> int:  # fmt: skip
    """Steps taken."""
    if not joint:
        return _epochs(model, scenario.tasks[number].train, F.cross_entropy, optimizer, how, seed, number)
    known = range(number + 1)
    model.ask(range(scenario.n_outputs))
    starts = torch.tensor([scenario.outputs[task][0] for task in known])
    both = joined_tasks([scenario.tasks[task] for task in known])
    task = torch.cat([torch.full_like(scenario.tasks[task].train[1], task) for task in known])
    width = len(scenario.outputs[0])

    def criterion(outputs: Tensor, packed: Tensor) -> Tensor:
        own, labels = packed // scenario.n_outputs, packed % scenario.n_outputs
        columns = starts.to(own.device)[own][:, None] + torch.arange(width, device=own.device)
        return F.cross_entropy(outputs.gather(1, columns), labels)

    return _epochs(
        model, (both.train[0], task * scenario.n_outputs + both.train[1]), criterion, optimizer, how, seed, number
    )


def _epochs(
    model: nn.Module, data: Labelled, criterion: Callable[[Tensor, Tensor], Tensor], optimizer: torch.optim.Optimizer,
    how: Schooling, seed: int, number: int,
) -> int:  # fmt: skip
    order = MinibatchOrder(len(data[1]), how.batch_size, "reshuffled", _ORDERS * seed + number)
    epochs = itertools.islice(train(model, criterion, data, optimizer, order), how.epochs)
    return max(epoch.step for epoch in epochs)


def _errors(model: Answers, scenario: Scenario) -> Tensor:
    """Share of wrong answers in every task."""
    found = []
    for task, outputs in zip(scenario.tasks, scenario.outputs, strict=True):
        model.ask(outputs)
        found.append(evaluate(model, task.test)[1])
    return torch.tensor(found, dtype=torch.float64)
