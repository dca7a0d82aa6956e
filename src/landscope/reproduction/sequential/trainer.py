"""The one trainer of tasks in sequence: each task is learnt while a method keeps the earlier ones."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Container, Generator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from landscope.memory.task_memory import TaskMemory
from landscope.reproduction.sequential.baselines.protocol import Memory
from landscope.reproduction.sequential.continual_result import ContinualResult, LearntTask, Observation
from landscope.reproduction.sequential.methods import EndSnapshot, MethodSettings
from landscope.reproduction.sequential.task_data import Criterion, SelectedOutputs, Task, have_heads, joint_task
from landscope.reproduction.sequential.training import TaskTraining
from landscope.results import stamp

__all__ = ["task_errors", "train_sequentially"]

OnObservation = Callable[[int, int, Tensor], None]
"""Called with the number of the task that is learnt, the step, and the errors of all tasks."""


def train_sequentially(
    model: nn.Module,
    tasks: Sequence[Task],
    method: MethodSettings,
    training: TaskTraining,
    *,
    memory: Memory | None = None,
    earlier: Sequence[LearntTask] = (),
    n_tasks: int | None = None,
    watch: Container[int] = (),
    on_observation: OnObservation | None = None,
) -> ContinualResult:
    """Learn tasks one after another, with a method that keeps the earlier ones.

    Args:
        model: Trained in place; its free parameters learn.
        tasks: The tasks, in order.
        method: The method.
        training: How each task is learnt.
        memory: The method at work; made from ``method`` by default.
        earlier: Rows of the tasks that the model has learnt already; training starts with the next one.
        n_tasks: Number of tasks to learn, with the earlier ones; the others are only tested. All by default.
        watch: Steps of each task after which the errors of all tasks are measured.
        on_observation: Called with each of these measurements.

    Example:
        >>> import torch
        >>> x = torch.linspace(-1, 1, 20)[:, None]
        >>> tasks = [Task(f"above {edge}", *2 * ((x, (x[:, 0] > edge).long()),)) for edge in (-0.5, 0.5)]
        >>> _ = torch.manual_seed(0)
        >>> result = train_sequentially(
        ...     torch.nn.Linear(1, 2), tasks, MethodSettings("none"), TaskTraining(epochs=200, window_epochs=0)
        ... )
        >>> result.error.shape, result.forgetting > 0.3
        (torch.Size([2, 2]), True)
    """
    if memory is None:
        memory = method.memory(model, shared_only=have_heads(tasks), seed=training.seed)
    optimizer = training.optimizer(model)
    rows, observations = list(earlier), list[Observation]()
    for number in range(len(rows), len(tasks) if n_tasks is None else n_tasks):
        task, criterion = tasks[number], training.criterion
        if method.method == "joint":
            task, criterion = joint_task(tasks[: number + 1], criterion)
        if isinstance(memory, TaskMemory) and not memory.implicit:
            criterion = _with_penalty(criterion, memory)
        _look_back(memory, method, training.window(task.train))

        def observe(step: int, number: int = number) -> None:
            observations.append((number, step, task_errors(model, tasks, training)))
            if on_observation is not None:
                on_observation(*observations[-1])

        begun = time.perf_counter()
        _select(model, task.outputs)
        with memory.training(optimizer), _counted_steps(optimizer, watch, observe) as steps:
            learnt = training.train(model, task.train, optimizer, number, criterion)
        seconds, begun, n_held = time.perf_counter() - begun, time.perf_counter(), 0
        if number + 1 < len(tasks):
            memory.consolidate(training.criterion, training.measured_on(task.train))
            n_held = memory.n_held if isinstance(memory, TaskMemory) else 0
        rows.append(
            LearntTask(
                task_errors(model, tasks, training), seconds, time.perf_counter() - begun, memory.n_stored, n_held,
                steps[-1], learnt,
            )
        )  # fmt: skip
    return ContinualResult.of(
        rows, observations, method=method.method, strength=method.value, n_modes=method.n_modes, rank=method.rank,
        tasks=tuple(task.name for task in tasks), dim=sum(p.numel() for p in model.parameters() if p.requires_grad),
        provenance=stamp(**({"window": method.window} | training.settings())),
    )  # fmt: skip


def task_errors(model: nn.Module, tasks: Sequence[Task], training: TaskTraining) -> Float[Tensor, " tasks"]:
    """Error of every task at the present weights."""
    columns = model.columns if isinstance(model, SelectedOutputs) else slice(None)
    errors = []
    for task in tasks:
        _select(model, task.tested)
        errors.append(training.error(model, task))
    if isinstance(model, SelectedOutputs):
        model.columns = columns
    return torch.tensor(errors, dtype=torch.float64)


def _with_penalty(criterion: Criterion, memory: TaskMemory) -> Criterion:
    """The mean loss of a minibatch plus the penalty, for methods without implicit steps."""

    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        return criterion(outputs, labels).mean() + memory.penalty()

    return loss


def _select(model: nn.Module, outputs: tuple[int, ...] | None) -> None:
    if isinstance(model, SelectedOutputs):
        model.select(outputs)


def _look_back(memory: Memory, method: MethodSettings, window: int | None) -> None:
    """Let the modes of a task be found in its window, however long that is for this task."""
    if window is not None and method.window is None and isinstance(memory, TaskMemory | EndSnapshot):
        memory.window = window


@contextlib.contextmanager
def _counted_steps(
    optimizer: torch.optim.Optimizer, watch: Container[int], observe: Callable[[int], None]
) -> Generator[list[int]]:
    """Number the steps of an optimiser, and call back after some of them; 0 is before the first."""
    steps: list[int] = []

    def note(*_: object) -> None:
        steps.append(len(steps))
        if steps[-1] in watch:
            observe(steps[-1])

    note()
    hook = optimizer.register_step_post_hook(note)
    try:
        yield steps
    finally:
        hook.remove()
