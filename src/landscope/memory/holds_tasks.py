"""The part of a memory that shows and changes how finished tasks are held."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from landscope.errors import InputError
from landscope.memory.described import described
from landscope.memory.held_tasks import HeldTasks
from landscope.memory.methods.method import Method
from landscope.memory.replay.sources import Replay
from landscope.memory.report.rise import Rise
from landscope.memory.report.task_matrix import TaskMatrix
from landscope.memory.report.task_report import TaskReport, report_of
from landscope.memory.warnings import StepMonitor, warn_of_large_budget
from landscope.parameters import ParameterSpace
from landscope.protocols import Penalty
from landscope.sharded import whole

__all__ = ["HoldsTasks"]


class HoldsTasks:
    """A memory with finished tasks."""

    model: nn.Module
    space: ParameterSpace
    method: Method
    replay: Replay | None
    implicit: bool
    _tasks: HeldTasks
    _active: contextlib.ExitStack | None
    _monitor: StepMonitor | None

    @property
    def held(self) -> Penalty | None:
        """Penalty V of all consolidated tasks; None before the first."""
        return self._tasks.penalty

    def penalty(self) -> Tensor:
        """The penalty V at the current weights, to add to a loss; zero before the first task is consolidated.

        Use it with ``TaskMemory(..., implicit=False)``. Gradient descent on it diverges where the learning rate times
        twice the largest stiffness exceeds 2; the implicit steps, which are the default, do not diverge.
        """
        tensors = self.space.tensors(self.model)
        w = torch.cat([whole(tensor).reshape(-1) for tensor in tensors])
        if self.held is None:
            return w.new_zeros(())
        value = self.held(w)
        if value.requires_grad:
            monitor, tasks = self._monitor, self._tasks
            value.register_hook(lambda _: tasks.follow_gradient(self.model) if monitor is None else monitor.follow())
        return value

    @property
    def n_tasks(self) -> int:
        """Number of consolidated tasks."""
        return self._tasks.n_tasks

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the consolidated tasks, in order."""
        return tuple(self._tasks.names)

    @property
    def strength(self) -> float:
        """Factor lambda of the penalties of all tasks; it may be changed at any time outside of a training."""
        return self._tasks.strength

    @strength.setter
    def strength(self, value: float) -> None:
        self._check_outside("change the strength")
        self._tasks.set_strength(value)

    def budget(
        self,
        rise: float | None = 0.05,
        *,
        absolute: float = 0.01,
        samples: int | Callable[[nn.Module], Any] = 0,
        every: int = 10,
        at_end: bool = False,
    ) -> None:
        """Adapt the strength in training, so that the loss of no earlier task rises by more than a share.

        The rise is counted for each task from the end of the last one, when the model knew all of them; the worst task
        decides, the one that has spent the largest part of what it is allowed. :attr:`rise` names it.

        Args:
            rise: The share, 0.05 for 5 %; None goes back to the chosen strength.
            absolute: Rise of the loss that is always allowed, for losses near zero.
            samples: Number of samples of each task, from now on, on which its rise is measured; or ``f(model)``, the
                loss of each earlier task on samples of it, as ``{"task 1": 0.2}``. Where it gives one number, the mean
                over tasks, the budget holds for the mean alone. The measurement corrects what the penalty predicts,
                with the running statistics of batch normalisation that the model has then. Without samples the rise is
                predicted alone: all tasks are stored together, so what is predicted is the sum of their rises, which
                bounds each of them, and no task is named; far from the end of a task the rise may be many times as
                large. A number of samples measures the model as it is; but weights that ``select=`` left out are,
                without replay, as they were where the task ended, such as its own head.
            every: Number of steps between two measurements. Samples are not part of a state.
            at_end: Whether to measure at the end of each training alone. The strength then stays as it is, and at the
                end the weights go back toward the end of the last task, on a straight line, until the measured rise is
                within the budget. It is the better choice where the loss is low along that line, as it is for language
                models; until the end of the training, the weights are over the budget.

        Raises:
            InputError: If the memory is in a training or takes no implicit steps, a number is out of range, or there is
                no measurement and the method predicts no rise or ``at_end`` is asked for.

        Warns:
            UserWarning: If the loss may double: 5 is 500 %.
        """
        self._check_outside("change the budget")
        if not self.implicit:
            raise InputError(
                expected="implicit steps, whose strength can be adapted", got="implicit=False",
                hint="Make the memory without implicit=False.",
            )  # fmt: skip
        self._tasks.set_budget(rise, absolute, samples, every, at_end, self.model)
        if rise is not None:
            warn_of_large_budget(rise)

    @property
    def rise(self) -> Rise | None:
        """How much the loss of the worst earlier task rose since the last one ended; None without a budget.

        Within a training it is the latest measurement. Elsewhere it is that of the weights that the model has: where
        they changed since, as by another training, merging, averaging or loading, it is measured or predicted again.
        It is None as well where parameters changed their shape, until the next training begins.

        In a distributed training all processes hold the same samples. Where the losses come from a function of yours
        (``samples=f``), their mean over processes counts within a training and at its end; elsewhere those of this
        process alone, since one process may ask while the others go on.
        """
        return self._tasks.rise(self.model)

    def _check_outside(self, what: str) -> None:
        if self._active is not None:
            raise InputError(
                expected="a memory outside of a training", got="a memory in a training",
                hint=f"First leave `with memory.training(...)`, then {what}.",
            )  # fmt: skip

    def _warn_if_trained_without(self) -> None:
        if self.implicit and self._active is None:  # otherwise the loss may contain the penalty
            self._tasks.warn_if_trained_without(self.model)

    @property
    def output_ratio(self) -> float:
        r"""By how much V is multiplied now, where the outputs have moved farther than to first order; 1 elsewhere.

        .. math:: r^2 = \max\Big(1, \frac{\|z(w) - z(w_1)\|^2}{\|J (w - w_1)\|^2}\Big)

        of the outputs z for a batch of the training, with w1 the weights where the last task ended, and J the slope
        there.
        """
        return 1.0 if self._tasks.outputs is None else self._tasks.outputs.factor

    @property
    def n_stored(self) -> int:
        """Number of values stored for earlier tasks: the penalty, and what is replayed."""
        return self._tasks.n_stored

    def report(
        self,
        evaluations: Mapping[str, Any],
        criterion: Callable[..., Any] | None = None,
        *,
        losses: Callable[[nn.Module, Any], Any] | None = None,
        loss_options: Mapping[str, Any] | None = None,
        higher_is_better: bool | None = None,
        path: str | PathLike[str] = "report.html",
        old: Any = None,
        others: Mapping[str, TaskMatrix] | None = None,
        title: str = "Tasks one after another",
        points: int = 11,
    ) -> TaskReport:
        """Measure the model on every task, and write a page of it.

        The page has a row for the end of each finished task and one for the task that is learnt now, what was
        forgotten, old tasks against the new one, the straight line between the weights before and after, which a method
        should beat, the cost, and, with a budget, the task whose loss has used most of it. Call it after the training
        of each task, before its consolidation: it then measures the end of the task before too. What was measured in an
        earlier call stays, also where tasks are added later; what nobody measured at the time is NaN, and a dash in the
        table and on the page. Neither the model nor the random state changes.

        Args:
            evaluations: Data of each task, whose mean loss is taken, by its name, in the order of learning; or
                ``function(model)`` that gives a number, without a criterion or ``losses``. Earlier measurements are
                found again by the name, so one name means one measure of one set of data in all reports. Losses by
                criteria of other names and numbers of the other direction stay apart; an accuracy and an F1 need two
                names.
            criterion: ``criterion(outputs, targets)``, see :class:`landscope.EmpiricalRisk`; None with ``losses``, for
                functions, or for the loss that the model itself computes, ``model(**batch).loss``.
            losses: ``losses(model, batch)`` in place of a criterion.
            loss_options: How the loss is evaluated, see :meth:`landscope.TaskMemory.consolidate`.
            higher_is_better: Whether a higher number is better. Functions need it: True for accuracies.
            path: Where to write the page.
            old: The model, or its weights, at the end of the last finished task, where a state was loaded since.
            others: Matrices of other trainings on the same tasks, such as one without a memory, to compare with.
            title: Heading of the page.
            points: Number of points on the straight line; each costs an evaluation of every task.

        Returns:
            The path of the page, the matrix and the line; printed, it is a table.

        Raises:
            InputError: If no task is finished, or the evaluations do not fit.

        Warns:
            LandscopeWarning: If the model was trained since the last task, and never in
                :meth:`landscope.TaskMemory.training`.

        Example:
            >>> import landscope as ls, tempfile, torch
            >>> _ = torch.manual_seed(0)
            >>> model, criterion = torch.nn.Linear(2, 2), torch.nn.CrossEntropyLoss()
            >>> old, new = ((torch.randn(64, 2), torch.randint(2, (64,))) for _ in range(2))
            >>> memory = ls.keep(model, criterion, old)
            >>> _ = model.weight.data.mul_(2.0)  # in place of a training
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     report = memory.report({"old": old, "new": new}, criterion, path=folder + "/report.html")
            >>> report.matrix.values.shape, report.line.share[0].item()
            (torch.Size([2, 2]), 0.0)
        """
        self._warn_if_trained_without()
        return report_of(
            self.model, self._tasks.history, self.n_tasks, self.n_stored, evaluations, criterion, losses,
            loss_options=loss_options, higher_is_better=higher_is_better, path=path,
            old=old, others=others, title=title, points=points, names=self.tasks, rise=self.rise,
        )  # fmt: skip

    def __repr__(self) -> str:
        return described(self, self._tasks)
