"""What a quadratic penalty does not count: how far outputs move beyond first order while a second task is learnt."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, jvp

from landscope.law.intervals import mean_with_spread
from landscope.memory.task_memory import TaskMemory
from landscope.progress import Reporter
from landscope.reproduction.figures.continual import benchmarks
from landscope.reproduction.figures.continual_benchmark import ContinualBenchmark, experiment_of
from landscope.reproduction.figures.figure import Plan, Section, table
from landscope.reproduction.jobs import Job
from landscope.reproduction.sequential.kept_results import make_missing
from landscope.reproduction.sequential.methods import MethodSettings
from landscope.reproduction.sequential.scenarios import n_outputs
from landscope.reproduction.sequential.task_data import SelectedOutputs, Task, have_heads
from landscope.reproduction.sequential.trainer import train_sequentially
from landscope.reproduction.sequential.tuning import Seeds
from landscope.results import Result, stamp

__all__ = ["SecondTask", "jobs", "key", "second_task", "sections", "title"]

_SEEDS = Seeds(reported=3, tuning=0)
_SAMPLES = 1000
_RESULT = "second-task"
_METHOD = MethodSettings("basin-fixed", 1.0)
_TEXT = (
    "Two tasks in turn, the first held by the basin method at strength 1 throughout, with V the rise of ln L that it "
    "predicts for the first task. L is the loss of {samples} training samples of the first task: at its end, after the "
    "second task, and there again for the network that is linear in its weights about the end of the first. "
    "Change over first order: squared change of the outputs over that of the linear network, on samples of each task; "
    "the memory measures it on a batch of the second task, and multiplies V by it. Mean and standard deviation over "
    "{seeds} seeds."
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SecondTask(Result, kind="second_task", dims={"change": ("task",), "first_order": ("task",)}):
    """A network after two tasks, the first of which was held.

    Args:
        loss_before: Loss of the first task at its end.
        loss_after: Its loss after the second task.
        loss_of_linear: The same for the network that is linear in its weights about the end of the first task.
        penalty: The penalty V of the first task after the second.
        change: Mean square of the change of the outputs, on samples of each task, ``[2]``.
        first_order: The same for the linear network, ``[2]``.
    """

    loss_before: float
    loss_after: float
    loss_of_linear: float
    penalty: float
    change: Float[Tensor, " 2"]
    first_order: Float[Tensor, " 2"]

    @property
    def ratio(self) -> Float[Tensor, " 2"]:
        """Change over first order, for both tasks."""
        return self.change / self.first_order


def second_task(model: nn.Module, tasks: Sequence[Task], learn: Callable[[TaskMemory, int], None]) -> SecondTask:
    """Learn two tasks and compare the network with the one that is linear in its weights.

    Args:
        model: The model.
        tasks: The tasks, of which the first two are learnt.
        learn: ``learn(memory, number)`` trains the model on a task, and consolidates the first.
    """
    memory = _METHOD.memory(model, shared_only=have_heads(tasks))
    assert isinstance(memory, TaskMemory)  # noqa: S101 - the method is one of a memory
    learn(memory, 0)
    w1, penalty = memory.space.flatten(model).clone(), memory.held
    learn(memory, 1)
    w = memory.space.flatten(model)
    assert penalty is not None  # noqa: S101 - the first task was consolidated
    old, new = (_outputs(model, memory, task, w1, w) for task in tasks[:2])
    labels = tasks[0].train[1][:_SAMPLES]
    before, after, linear = (float(nn.functional.cross_entropy(z, labels)) for z in old)
    return SecondTask(
        loss_before=before, loss_after=after, loss_of_linear=linear, penalty=float(penalty(w)),
        change=torch.stack([(z - z1).square().mean() for z1, z, _ in (old, new)]),
        first_order=torch.stack([(linear - z1).square().mean() for z1, _, linear in (old, new)]),
        provenance=stamp(samples=_SAMPLES),
    )  # fmt: skip


def _outputs(model: nn.Module, memory: TaskMemory, task: Task, w1: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs for samples of a task at w1, at w, and at w of the network that is linear about w1."""
    if isinstance(model, SelectedOutputs):
        model.select(task.outputs)
    inputs = task.train[0][:_SAMPLES]

    def outputs(held: dict[str, Tensor]) -> Tensor:
        return functional_call(model, held, (inputs,))

    with torch.no_grad():
        found = jvp(outputs, (memory.space.unflatten(w1),), (memory.space.unflatten(w - w1),))
        return found[0], outputs(memory.space.unflatten(w)), found[0] + found[1]


key = "output-change"
title = "How far outputs move beyond first order"


def jobs(plan: Plan) -> list[Job]:
    """One job a benchmark and seed."""
    return [
        Job(_name(benchmark, seed), _run, (plan, benchmark, seed))
        for benchmark in benchmarks(plan)
        for seed in _SEEDS.reported_of(plan)
    ]


def sections(plan: Plan) -> list[Section]:
    """One row a benchmark."""
    rows = {
        benchmark.name: [plan.load(_name(benchmark, seed), _RESULT, SecondTask) for seed in _SEEDS.reported_of(plan)]
        for benchmark in benchmarks(plan)
    }
    text = _TEXT.format(samples=f"{_SAMPLES:,}", seeds=len(_SEEDS.reported_of(plan)))
    values = {name: [found.ratio.tolist() for found in results] for name, results in rows.items()}
    return [Section(key, title, text, *table(_COLUMNS, rows.items()), [], values)]


_Row = tuple[str, Sequence[SecondTask]]
_COLUMNS: Mapping[str, Callable[[_Row], str]] = {
    "tasks": lambda row: row[0],
    "ln L rises by": lambda row: mean_with_spread([math.log(found.loss_after / found.loss_before) for found in row[1]]),
    "of the linear network by": lambda row: mean_with_spread(
        [math.log(found.loss_of_linear / found.loss_before) for found in row[1]]
    ),
    "predicted, V": lambda row: mean_with_spread([found.penalty for found in row[1]]),
    "change over first order, first task": lambda row: mean_with_spread([float(found.ratio[0]) for found in row[1]]),
    "second task": lambda row: mean_with_spread([float(found.ratio[1]) for found in row[1]]),
}


def _name(benchmark: ContinualBenchmark, seed: int) -> str:
    return f"{key}-{benchmark.key}-seed{seed}"


def _run(reporter: Reporter, plan: Plan, benchmark: ContinualBenchmark, seed: int) -> None:
    settings = plan.settings_with(**benchmark.changes, seed=seed)

    def prepare() -> Callable[[ContinualBenchmark], SecondTask]:
        return lambda benchmark: _measured(plan, benchmark, seed)

    numbers = {name: value for name, value in benchmark.training(0).settings().items() if name != "seed"}
    make_missing(plan.run_path(_name(benchmark, seed)), settings, {_RESULT: benchmark}, prepare, reporter, numbers)


def _measured(plan: Plan, benchmark: ContinualBenchmark, seed: int) -> SecondTask:
    experiment = experiment_of(plan.settings_with(**benchmark.changes, seed=0))
    tasks, training = benchmark.scenario(experiment), benchmark.training(seed)
    model = SelectedOutputs(benchmark.network(experiment, n_outputs(tasks), seed))

    def learn(memory: TaskMemory, number: int) -> None:
        some = tasks[:2] if number == 0 else tasks[1:2]
        train_sequentially(model, some, _METHOD, training, memory=memory, n_tasks=1)

    return second_task(model, tasks, learn)
