"""TaskMemory: protects earlier tasks while a model learns the next one, in any training loop."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, get_args

import torch
from torch import nn

from landscope._checks import check_choice, check_count, check_hooked, check_kind
from landscope._names import TrainedBatchNorm
from landscope.errors import InputError
from landscope.memory.between_tasks.kept_statistics import kept_statistics
from landscope.memory.held_tasks import HeldTasks
from landscope.memory.methods.accumulate import layerwise_penalty, task_penalty
from landscope.memory.methods.checks import (
    check_flags,
    check_is_at_end,
    checked_ratio,
    follows_outputs,
    method_and_strength,
)
from landscope.memory.methods.method import Method
from landscope.memory.methods.rows import TaskRows
from landscope.memory.methods.snapshot import TaskSnapshot
from landscope.memory.replay.replay_steps import ReplaySteps
from landscope.memory.replay.replayed_tasks import ReplayedTasks
from landscope.memory.replay.sources import Replay, resolve_replay
from landscope.memory.report.task_loss import TaskLoss
from landscope.memory.saved_memory import SavedMemory
from landscope.memory.strength.output_change import OutputChange
from landscope.memory.warnings import (
    StepMonitor,
    TrainingContext,
    warn_if_parameters_never_moved,
    warn_if_unknown,
    warn_if_weights_moved_since_recording,
    warn_of_few_rows,
    warn_of_unprotected,
)
from landscope.parameters import ParameterSpace, Selection
from landscope.penalties.proximal import ProximalSteps, check_optimizer
from landscope.penalties.quadratic import QuadraticPenalty
from landscope.penalties.warnings import warn_of_statistics
from landscope.processes import check_same, of_first_process, take_buffers_of_first
from landscope.protocols import Penalty
from landscope.risk.empirical import EmpiricalRisk
from landscope.trajectory import Trajectory
from landscope.trajectory.checkpoints import load_weights, own_copy

__all__ = ["TaskMemory"]

_SAME_DATA = (
    "Pass the same data to all processes: the data set, or a list of all batches. A loader with a DistributedSampler "
    "stands for all samples of its data set."
)
_MODES_FOUND = 2
"""Number of modes found, in multiples of those held."""


class TaskMemory(SavedMemory):
    r"""Protects the tasks that a model has learnt while it learns the next ones (paper, Eq. 14).

    During training, the memory records the latest weights, and follows each step of the optimiser by an implicit step
    of the penalty V of all earlier tasks. At the end of a task, :meth:`consolidate` finds the principal modes of the
    recorded weights, measures the flatness along them, and adds the penalty of this task to V.

    Args:
        model: The model in training.
        select: Weights to protect, see :meth:`landscope.ParameterSpace.of`; choose those that all tasks share.
        method: How to protect a task: a name in ``landscope.memory.METHODS`` (``"basin"``, ``"ldc"``, ``"ewc"``,
            ``"kfac"``, ``"mas"``, ``"l2"``), or a method with options such as
            ``landscope.memory.LDC(flatness="variance", factored=True)``. Only ``"ldc"`` needs the recorded weights.
            None holds no weight, and replays alone.
        strength: Factor lambda of the penalty; by default 1 for ``"basin"`` and 4 for ``"ldc"`` (10 without a floor).
            ``"ewc"``, ``"kfac"``, ``"mas"`` and ``"l2"`` have no default. Tune it in factors of ten.
        n_modes: Number of directions to hold for each task, at most the number in which the weights moved.
        window: Number of the latest rows of a task in which the directions are found.
        every: Number of steps between two recorded rows.
        ratio: Loss at the edges of a valley over the loss at its bottom, where the width is measured, and of a basin. A
            loss that cannot rise by e, like that of a language model, needs a smaller one, such as 1.1.
        rank: Number of directions to keep for all tasks together (0 keeps their mean stiffness alone). The softest
            directions are dropped, so that many tasks need as much memory as one; Kronecker products are replaced by
            the nearest single product a layer. By default all directions are kept.
        per_layer: Whether to find ``n_modes`` modes of every layer on its own, instead of modes of all weights. The
            directions of one layer are flat only while the others rest, so all layers share the floor of the stiffest.
        implicit: Whether to take implicit steps; pass False to add :meth:`penalty` to the loss yourself.
        hold_every: Steps of the optimiser for each implicit step, see :class:`landscope.ProximalSteps`.
        follow_outputs: Whether the strength grows where the outputs move farther than V counts, which is to first order
            in the weights: every 20 steps both are measured on the latest batch, see :attr:`output_ratio`. By default
            only the method ``"basin"`` with implicit steps does so.
        replay: Number of samples of earlier tasks that every step learns again, with the answers that the model gave
            before; or :class:`landscope.memory.Replay` with options, such as samples that a language model draws of
            itself. Where real samples may be kept, ``method=None`` often learns more: it replays alone.
        batch_norm: Running statistics of batch normalisation while a further task is learnt. ``"kept"``: these layers
            stay in eval mode, whatever mode the model is set to, and get their modes back at the end; they need a lower
            learning rate than a training from scratch. ``"updated"``: they follow the new task, and no penalty holds
            them. A budget with samples holds both.

    Raises:
        InputError: If the selection does not fit the model, the method is unknown, needs a strength or does not work
            for these layers, or a number is out of range.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Linear(4, 2)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> criterion, x = torch.nn.CrossEntropyLoss(), torch.randn(32, 4)
        >>> memory = TaskMemory(model, n_modes=3)
        >>> for targets in ((x[:, 0] > 0).long(), (x[:, 1] > 0).long()):
        ...     with memory.training(optimizer):
        ...         for _ in range(50):
        ...             batch = torch.randint(32, (8,))
        ...             optimizer.zero_grad()
        ...             criterion(model(x[batch]), targets[batch]).backward()
        ...             optimizer.step()
        ...     _ = memory.consolidate(criterion, (x, targets))
        >>> memory.n_tasks, memory.held.dim
        (2, 10)
    """

    def __init__(
        self,
        model: nn.Module,
        select: Selection | Iterable[Selection] | None = None,
        *,
        method: str | Method | None = "basin",
        strength: float | None = None,
        n_modes: int = 100,
        window: int = 500,
        every: int = 1,
        ratio: float = math.e,
        rank: int | None = None,
        per_layer: bool = False,
        implicit: bool = True,
        hold_every: int = 1,
        follow_outputs: bool | None = None,
        replay: int | Replay | None = None,
        batch_norm: TrainedBatchNorm = "kept",
    ) -> None:
        several = isinstance(select, Iterable) and not isinstance(select, str | type)
        self._select = tuple(select) if several else select
        self.model, self.space, self._selects_all = model, ParameterSpace.of(model, self._select), select is None
        self.replay = resolve_replay(replay)
        self.batch_norm = check_choice("batch_norm", batch_norm, get_args(TrainedBatchNorm))
        self.method, at = method_and_strength(method, strength, self.replay)
        self.n_modes = check_count("n_modes", n_modes, minimum=1)
        self.every = check_count("every", every, minimum=1)
        self.ratio = checked_ratio(ratio)
        self.rank = rank if rank is None else check_count("rank", rank, minimum=0)
        check_flags(self.method, per_layer=per_layer, implicit=implicit)
        self.method.check(model, self.space)
        self.per_layer, self.implicit = per_layer, implicit
        self.follow_outputs = follows_outputs(self.method, follow_outputs, implicit=implicit)
        self.hold_every = check_count("hold_every", hold_every, minimum=1)  # may be changed between trainings
        self._tasks = HeldTasks(
            self.space, self.method, at, self.rank, None if self.replay is None else ReplayedTasks.of(self.replay),
            OutputChange(model) if self.follow_outputs else None, self.ratio, whole=self._selects_all,
        )  # fmt: skip
        self.n_held = 0
        """Number of directions that the last task holds; 0 with ``per_layer``."""
        self._rows = TaskRows(self.space, check_count("window", window, minimum=3), self.every)
        self._active: contextlib.ExitStack | None = None
        self._monitor: StepMonitor | None = None

    def training(self, optimizer: torch.optim.Optimizer) -> contextlib.AbstractContextManager[None]:
        """Record the current task and protect the earlier ones while this optimiser trains the model.

        A task may be trained in one such context or in several.

        Args:
            optimizer: Optimiser of the model; it may change between trainings.

        Raises:
            InputError: If the memory is already in a training, the optimiser does not hold the selected weights or has
                no learning rate, or nothing is left of the held weights, or frozen weights have other values.
            NonFiniteError: If the weights became NaN or infinite.

        Warns:
            UserWarning: If ``select`` was left out and the optimiser moves weights that were not trainable when the
                memory was made; if the context ends without a step of this optimiser; if a loss contains
                :meth:`penalty` beside implicit steps or, with ``implicit=False``, does not contain it; if parameters
                changed name or shape since the last task: what both models share stays held, the rest is named.
            LandscopeWarning: If some held weights have new values and the others are as they were, as with a new head.
            UnusedContextWarning: If the context is never entered by ``with``.
        """
        return TrainingContext(self._training(optimizer))

    @contextlib.contextmanager
    def _training(self, optimizer: torch.optim.Optimizer) -> Generator[None]:
        optimizer = check_hooked(optimizer)
        if self._active is not None:
            raise InputError(
                expected="one training at a time", got="a second one inside the first",
                hint="Leave the first `with memory.training(...)` block before.",
            )  # fmt: skip
        self.follow_model()
        tensors = self.space.tensors(self.model)
        like = tensors[0]
        if self.implicit:
            check_optimizer(self.space, tensors, optimizer)
        if self._selects_all:
            warn_of_unprotected(self.model, tensors, optimizer)
        self._tasks.warn_of_new_values(tensors)
        held = self._tasks.on(like.device, like.dtype)  # once a training: it checks all directions again
        outputs = self._tasks.followed
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._tasks.history.timed())
            stack.callback(self._deactivate)
            self._tasks.start_training()
            if self.batch_norm == "kept" and self.n_tasks:
                stack.enter_context(kept_statistics(self.model))
            if held is not None and self.implicit:
                if outputs is not None:
                    stack.enter_context(outputs.watching(held, every=self.hold_every))
                held_by = {"adapted": self._tasks.adapted, "every": self.hold_every}
                stack.enter_context(ProximalSteps(held, self.model, optimizer, self.space, **held_by))
            elif held is not None:
                warn_of_statistics(self.model)
            if (replayed := self._tasks.replayed) is not None and replayed.n_tasks:
                within = contextlib.nullcontext if outputs is None else outputs.unwatched
                stack.enter_context(ReplaySteps(replayed, self.model, optimizer, within))
            if self.method.needs_recording:
                self._rows.record(stack, self.model, optimizer)
            monitor = StepMonitor(optimizer, implicit=self.implicit, has_tasks=self.held is not None)
            self._tasks.is_trained = True
            self._active, self._monitor = stack, stack.enter_context(monitor)
            yield

    def close(self) -> None:
        """End a training that was interrupted without leaving its context, as a Trainer does; otherwise do nothing.

        Raises:
            NonFiniteError: If the weights became NaN or infinite; the training is ended all the same.
        """
        if self._active is not None:
            self._active.close()

    def _deactivate(self) -> None:
        self._active = self._monitor = None
        self._tasks.end_training(self.model)

    def check(
        self,
        criterion: Callable[..., Any] | None = None,
        data: Any = None,
        *,
        losses: Callable[[nn.Module, Any], Any] | None = None,
        loss_options: Mapping[str, Any] | None = None,
    ) -> None:
        """Raise now what :meth:`consolidate` would raise after the training; the memory stays as it is.

        Args:
            criterion: Loss of the task, as for :meth:`consolidate`.
            data: A few samples in the form of the training data, such as ``[next(iter(loader))]``.
            losses: Loss of the task in place of a criterion.
            loss_options: How the loss is evaluated.

        Raises:
            InputError: If the method does not work for this model and this loss.
        """
        risk = TaskLoss(criterion, data, losses, loss_options).risk(self.model, self.space)
        if not self.method.needs_recording:
            task_penalty(TaskSnapshot(risk, Trajectory.of(risk.w0[None].cpu())), self.method, self.strength, 1)
        if self._tasks.replayed is not None:
            self._tasks.replayed.check(self.model, data)

    def consolidate(
        self,
        criterion: Callable[..., Any] | None = None,
        data: Any = None,
        *,
        losses: Callable[[nn.Module, Any], Any] | None = None,
        loss_options: Mapping[str, Any] | None = None,
        w0: Any = None,
        name: str | None = None,
    ) -> Penalty:
        """End the current task: from now on, the memory holds the weights where they are.

        Args:
            criterion: Loss of the task, see :class:`landscope.EmpiricalRisk`; None with ``losses``, or for the loss
                that the model itself computes from ``labels``.
            data: Training data of the task, or enough of them to estimate its loss.
            losses: ``losses(model, batch)`` in place of a criterion, see :meth:`landscope.EmpiricalRisk.from_closure`.
            loss_options: How the loss is evaluated: ``count`` and ``cache_bytes`` and, with ``losses``, ``seed`` and
                ``mode``, as a mapping.
            w0: Where to hold the weights, if not where they are: averaged weights (EMA, SWA) as a model, a state dict,
                the path of a file, or a vector of the selected weights; flatness is measured there.
            name: Name of the task in :attr:`tasks` and :attr:`rise`; by default "task 1", "task 2" and so on.

        Returns:
            The penalty V of all tasks so far, which is also ``memory.held``.

        Raises:
            InputError: If no weights were recorded since the last task, the data do not fit, no flatness was found, or
                the name is taken; or if the model was not trained since the last task, which would then count twice:
                only with a name of its own, other data can be held at the same weights. The memory is left unchanged.

        Warns:
            UserWarning: If far fewer steps were recorded than directions asked for, the weights are far from where the
                recording ended, or some weights never moved although ``select`` was left out.
            LandscopeWarning: If the model was trained since the last task, and never in :meth:`training`; or if a
                cross-entropy is above that of guessing, so that the model does not know the data, see
                :func:`landscope.keep`.
        """
        self._check_ended()
        data = list(data) if isinstance(data, Iterator) and self.replay is not None else data  # it is read twice
        loss = TaskLoss(criterion, data, losses, loss_options)
        take_buffers_of_first(self.model)
        average = None if w0 is None else own_copy(self.model)
        if average is not None:
            load_weights(w0, average, self.space, " for w0")
        with self._tasks.history.timed():
            risk = loss.risk(self.model if average is None else average, self.space)
            return self._consolidate_at(risk, data, average=average, name=name)

    def consolidate_at(self, risk: EmpiricalRisk, *, name: str | None = None) -> Penalty:
        """End the current task with a risk that exists already, made with ``space=memory.space``.

        Args:
            risk: Loss of the task on the selected weights. Make it after the training, because it keeps the weights
                that the model has when the risk is made.
            name: Name of the task, see :meth:`consolidate`.

        Returns:
            The penalty V of all tasks so far.

        Raises:
            InputError: If no weights were recorded since the last task, or the risk is on other parameters, or was made
                before the end of the training; or if the model was not trained since the last task.
        """
        check_kind("the risk", risk, EmpiricalRisk, hint="Pass ls.EmpiricalRisk(...), or call consolidate().")
        self._check_ended()
        if risk.space == self.space:
            check_is_at_end(risk, self.space.flatten(self.model), self._rows.latest())
        with self._tasks.history.timed():
            return self._consolidate_at(risk, name=name)

    def _consolidate_at(
        self, risk: EmpiricalRisk, data: Any = None, *, average: nn.Module | None = None, name: str | None
    ) -> Penalty:
        if risk.space != self.space:
            raise InputError(
                expected=f"a risk on {', '.join(self.space.names)}", got=f"a risk on {', '.join(risk.space.names)}",
                hint="Make the risk with space=memory.space.",
            )  # fmt: skip
        ended = self.model if average is None else average
        name, loss = self._tasks.next_name(name, ended), float(risk(risk.w0))
        check_same("loss of the finished task", loss, risk.w0.device, hint=_SAME_DATA)
        replayed = self._tasks.with_replay(ended, data, loss)
        rows = self._rows.latest()
        window = Trajectory.of(risk.w0[None].cpu()) if rows is None else rows
        if self.method.needs_recording:
            warn_of_few_rows(len(window), self.n_modes, self.space.dim)
        if self._selects_all and self.n_tasks == 0 and rows is not None:
            warn_if_parameters_never_moved(rows, self.space)
        if average is None:
            warn_if_weights_moved_since_recording(window, risk.w0)
        task = TaskSnapshot(risk, window, _MODES_FOUND * self.n_modes, seed=self.n_tasks, ratio=self.ratio)
        make = layerwise_penalty if self.per_layer else task_penalty
        latest = of_first_process(make(task, self.method, self.strength, self.n_modes), risk.w0.device)
        if isinstance(latest, QuadraticPenalty) and latest.directions is not None:
            n_held = len(latest.stiffness)  # a mode without a flatness is left to the floor
        else:
            n_held = 0 if self.per_layer else self.method.n_directions(task, self.n_modes)
        warn_if_unknown(risk, loss, name)
        held = self._tasks.add(latest, risk, loss, ended, replayed, name)
        self._tasks.wait_for_training(self.model)
        self.n_held = n_held
        self._rows.end_task()
        return held

    @property
    def window(self) -> int:
        """Number of the latest rows of a task in which the directions are found; it may be changed between tasks."""
        return self._rows.window

    @window.setter
    def window(self, rows: int) -> None:
        self._rows.window = check_count("window", rows, minimum=3)

    def _check_ended(self) -> None:
        """Raise unless a training has ended that can be consolidated."""
        self.space.tensors(self.model)
        if self._active is not None:
            raise InputError(
                expected="a training that has ended", got="a running training",
                hint="Consolidate after the `with memory.training(...)` block. After an interrupted Trainer, first "
                "call close() of its callback or of the memory.",
            )  # fmt: skip
        if self.method.needs_recording and self._rows.latest() is None:
            raise InputError(
                expected="weights recorded since the last task", got="none",
                hint="Train inside `with memory.training(optimizer):` before you consolidate.",
            )  # fmt: skip
        self._warn_if_trained_without()
