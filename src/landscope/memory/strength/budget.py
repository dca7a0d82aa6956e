"""A strength that follows from how much the loss of earlier tasks may rise."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from landscope._checks import check_count, check_kind, check_positive, check_strength
from landscope.errors import InputError, LandscopeWarning
from landscope.memory.report.rise import Rise, RiseOfTasks, allowed_rise, losses_by_task
from landscope.memory.strength.output_change import OutputChange
from landscope.penalties.warnings import warn
from landscope.processes import means_over_processes
from landscope.risk.eval_mode import in_eval_mode
from landscope.risk.running_statistics import copied_statistics, lerped_statistics, set_statistics, with_statistics
from landscope.shown import in_lines

__all__ = ["Budget"]

_RATE = 0.1
"""Largest change of ln lambda in a step: a factor of ten takes 23 steps."""
_LEAST, _MOST = 1e-3, 1e6
"""Factors between which the strength is adapted."""
_LARGEST_CORRECTION = 1e4
_SAME = 1e-3
"""Losses that differ by this share are the same in another precision."""
_HALVINGS = 6
"""Halvings of the way back to the end of a task."""

At = Callable[[Tensor], contextlib.AbstractContextManager[nn.Module]]
"""``at(w)`` is a context in which the model has the weights w."""


class Budget:
    r"""Adapts the factor of a penalty at every step, so that the loss L of no earlier task rises by more than a share.

    .. math:: r_k = \ln \frac{L_k}{L_{k1}} \le \ln\Big(1 + \max\Big(\rho, \frac{a}{L_{k1}}\Big)\Big)

    of every earlier task k, with the share rho and the absolute rise a, which matters where the loss is near zero. The
    rise is measured on a few samples of each earlier task, or predicted by the penalty. Every few steps, the ratio of
    the measured rise of the worst task to the predicted one corrects the prediction, and weights that went too far go
    back toward the end of the last task until every measured rise is within its bound. The worst task has used the
    largest part of its bound. Every loss is that of the running statistics that the model then has, and these go back
    with the weights; in a distributed training it is the mean over the processes. While the worst task is below its
    bound, the factor falls, so the new task learns as freely as the bound allows.

    A penalty predicts the sum of the rises of all tasks, and does not say which task rises. The sum stays within the
    smallest bound, so no task is predicted to rise by more.

    Args:
        rise: Share rho, 0.05 for 5 %.
        absolute: Rise a of the loss that is always allowed.
        measure: ``measure(model)`` gives the loss of each earlier task on samples of it, by its name, as
            ``{"task 1": 0.2}``. Where it gives one number, their mean, the bound holds for the mean alone.
        every: Number of steps between two measurements.
        outputs: What corrects the prediction where outputs move farther than to first order.
        at_end: Whether to measure at the end of each training alone: the strength is the usual one, and only the end
            goes back toward the end of the task. Without a measurement it has no effect.
        predict: ``predict(V)``, the rise of ln L that a value of the penalty without the factor predicts; by default V.

    Raises:
        InputError: If a number is out of range.

    Example:
        >>> budget, model, w = Budget(0.05), nn.Linear(1, 1), torch.zeros(2)
        >>> budget.start(model, w, loss1=1.0)
        >>> for _ in range(100):
        ...     w = budget.follow(0.2, w, at=lambda w: contextlib.nullcontext(model))
        >>> budget.factor > 100, round(budget.allowed, 4)
        (True, 0.0488)
    """

    def __init__(
        self,
        rise: float,
        *,
        absolute: float = 0.01,
        measure: Callable[[nn.Module], Any] | None = None,
        every: int = 10,
        outputs: OutputChange | None = None,
        at_end: bool = False,
        predict: Callable[[float], float] = float,
    ) -> None:
        self.rise, self.absolute = check_positive("rise", rise), check_strength("absolute", absolute)
        if measure is not None and not callable(measure):
            raise InputError(
                expected="measure as a function of the model", got=type(measure).__name__,
                hint="For example lambda model: criterion(model(old_inputs), old_targets).",
            )  # fmt: skip
        self.measure, self.every = measure, check_count("every", every, minimum=1)
        self.outputs = outputs
        self.at_end = check_kind("at_end", at_end, bool, hint="Pass True or False.")
        self.factor, self._loss1 = 1.0, math.nan
        self._before: dict[str, float] = {}
        """Measured loss of each task at the end of the last one."""
        self._found: RiseOfTasks | None = None
        self._correction, self._steps = 1.0, 0
        self._w1: Tensor | None = None
        self._statistics1: dict[str, Tensor] = {}
        """Running statistics at the end of the task."""
        self._predict = predict
        self.predicted = 0.0
        self.is_latest = False
        """Whether the latest measurement was made where a task or a training ended."""

    def __repr__(self) -> str:
        return in_lines(
            f"Budget of {100 * self.rise:g} %", absolute=self.absolute, every=self.every, at_end=self.at_end,
            measured=self.measure is not None, factor=self.factor,
        )  # fmt: skip

    @property
    def allowed(self) -> float:
        """The largest rise of ln L of the worst task; where none is measured, of the task that may rise least."""
        if self._found is not None:
            return self._found.allowed[self._found.worst]
        return allowed_rise(max(self._before.values(), default=self._loss1), self.rise, self.absolute)

    @property
    def measured(self) -> float | None:
        """The measured rise of ln L of the worst task; None where nothing is measured."""
        found = 0.0 if self._found is None else self._found.of_worst
        return None if self.measure is None else found

    def start(self, model: nn.Module, w1: Tensor, loss1: float) -> None:
        """Begin at the end of a task.

        Args:
            model: The model there.
            w1: Its selected weights.
            loss1: The loss of the earlier tasks there; of several, the largest, which may rise by the smallest share.
        """
        self._w1, self._loss1, self._correction, self._steps = w1.detach().clone(), loss1, 1.0, 0
        self.predicted, self._statistics1 = 0.0, copied_statistics(model)
        self._before = {} if self.measure is None else self._losses_of(model)
        self._found = self._compared(self._before, self._before) if self._before else None
        self.is_latest = True

    @property
    def end(self) -> tuple[Tensor, dict[str, Tensor]] | None:
        """Weights and running statistics at the end of the last task; None before the first one ended."""
        return None if self._w1 is None else (self._w1, self._statistics1)

    def compare_at_end(self, model: nn.Module) -> None:
        """Measure again where the last task ended, and count from there where a stored budget has other numbers.

        Args:
            model: The model as it was at the end of the last task.
        """
        found = self._losses_of(model)
        if found.keys() != self._before.keys():  # nothing to compare with
            return
        now, then = (", ".join(f"{loss:.3g}" for loss in losses.values()) for losses in (found, self._before))
        if all(math.isclose(found[task], loss, rel_tol=_SAME, abs_tol=_SAME) for task, loss in self._before.items()):
            return
        warn(
            f"at the end of the last task, the budget measured the loss {then} before the state was saved and measures "
            f"{now} now, so it measures other samples, or weights that are not held have other values; the rise is "
            "counted from the new number. To go on from the old one, make the memory at the weights that it keeps and "
            "with the same data in the same order, and load weights and state after that",
            LandscopeWarning,
        )
        self._before, self._found = found, self._compared(found, found)

    def compare_resized(self, model: nn.Module) -> None:
        """Measure again where the last task ended, with the further parameters of a larger model.

        The losses before are those of the smaller model, and stay what the budget counts from; but where the further
        parameters alone use it up, no training could be within it.

        Args:
            model: The larger model, with the earlier weights in the part that it shares.
        """
        found = self._losses_of(model)
        if found.keys() != self._before.keys():  # nothing to compare with
            return
        rises = self._compared(self._before, found)
        if not rises.is_within:
            warn(
                f"the new parameters alone, before any training, raise the loss of {rises.worst or 'the tasks'} by "
                f"{100 * math.expm1(rises.of_worst):.3g} %, which is more than the budget allows; the rise is counted "
                "from there. New rows of a head that begin near zero, with a negative bias, raise it less",
                LandscopeWarning,
            )
            self._before, rises = found, self._compared(found, found)
        self._found = rises

    @property
    def needs_value(self) -> bool:
        """Yes: the strength follows from it."""
        return True

    @property
    def holds_statistics(self) -> bool:
        """Whether what running statistics do is measured: they go back with the weights."""
        return self.measure is not None

    @property
    def follows_outputs(self) -> bool:
        """Whether it is corrected by how far the outputs move: measurements in the training take its place."""
        return self.outputs is not None and (self.measure is None or self.at_end)

    def follow(self, value: float, weights: Tensor, at: At, *, moved: float | None = None) -> Tensor:
        """Adapt the factor after a step.

        Args:
            value: The penalty at these weights, without the factor.
            weights: The weights that the user will evaluate.
            at: ``at(w)`` is a context in which the model has the weights w.
            moved: The penalty at the weights that the optimiser moves, where these are others, of which it takes means.
                They drive the factor, because means follow slowly; a convex penalty is no larger at the mean.

        Returns:
            The weights to take, which are those given, or, where a measured rise is above the bound, the farthest ones
            on the line to the end of the last task at which every task stays within it.
        """
        if self.outputs is not None and self.follows_outputs:
            self.outputs.follow(value, weights, at)
        self.predicted = self.predicted_at(value)
        if self.at_end and self.measure is not None:
            self.factor = 1.0 if self.outputs is None else self.outputs.factor
            return weights
        if self.measure is not None and self._steps % self.every == 0:
            weights = self._measured_within(weights, at)
        self._steps += 1
        driving = self.predicted if moved is None else self.predicted_at(moved)
        over = math.log(max(self._correction * driving, 1e-30) / self.allowed)
        self.factor = min(_MOST, max(_LEAST, self.factor * math.exp(_RATE * max(-1.0, min(1.0, over)))))
        return weights

    def predicted_at(self, value: float) -> float:
        """The rise of ln L at ``value``, the penalty without the factor, as far as outputs are known to move."""
        return self._predict(
            self.outputs.factor * value if self.outputs is not None and self.follows_outputs else value
        )

    def follow_model(self, carried: Callable[[Tensor], Tensor], measure: Callable[[nn.Module], Any] | None) -> None:
        """Go on with a model whose parameters changed.

        Args:
            carried: Gives the weights at the end of the task on the present parameters.
            measure: How the rise is measured from now on; None to predict it alone.
        """
        self._w1 = None if self._w1 is None else carried(self._w1)
        self.measure, self._found = measure, None if measure is None else self._found

    def last(self, weights: Tensor, at: At) -> Tensor:
        """The weights to end with: ``weights``, or some where the rise is in the bound; ``at(w)`` gives the model."""
        if self.outputs is not None and self.follows_outputs:
            weights = self.outputs.last(weights, at)
        self.is_latest = True
        return weights if self.measure is None else self._measured_within(weights, at)

    def _measured_within(self, weights: Tensor, at: At) -> Tensor:
        """Measure the rises; go back toward the end of the last task where one is too large."""
        with at(weights) as model:
            statistics = copied_statistics(model)

        def losses(share: float) -> dict[str, float]:
            there = lerped_statistics(self._statistics1, statistics, share)
            with at(_between(self._w1, weights, share)) as model, with_statistics(model, there):
                return self._losses_of(model)

        now = losses(1.0)
        if now.keys() != self._before.keys() and self._w1 is not None:  # a stored budget that measured otherwise before
            self._before = losses(0.0)
        self._found = found = self._rises(now, weights.device)
        if self.predicted > 0:
            ratio = found.of_worst / self.predicted
            self._correction = min(_LARGEST_CORRECTION, max(1 / _LARGEST_CORRECTION, ratio))
        if found.is_within or self._w1 is None:
            return weights
        low, high, least = 0.0, 1.0, None
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if (found := self._rises(losses(middle), weights.device)).is_within:
                low, least = middle, found
            else:
                high = middle
        self._found = self._rises(losses(0.0), weights.device) if least is None else least
        with at(weights) as model:
            set_statistics(model, lerped_statistics(self._statistics1, statistics, low))
        return _between(self._w1, weights, low)

    def _rises(self, now: Mapping[str, float], device: torch.device) -> RiseOfTasks:
        """The rises of the mean losses over the processes of a distributed training, which must go the same way."""
        if now.keys() != self._before.keys():
            raise InputError(
                expected=f"the losses of the same tasks as before, {', '.join(self._before) or 'none'}",
                got=", ".join(now), hint="Let samples=f return the same names each time.",
            )  # fmt: skip
        tasks = sorted(now)
        numbers = [losses[task] for losses in (self._before, now) for task in tasks]
        means = means_over_processes(numbers, device)
        before, after = (dict(zip(tasks, part, strict=True)) for part in (means[: len(tasks)], means[len(tasks) :]))
        return self._compared(before, after)

    def _compared(self, before: Mapping[str, float], now: Mapping[str, float]) -> RiseOfTasks:
        return RiseOfTasks.between(before, now, rise=self.rise, absolute=self.absolute)

    @torch.no_grad()
    def _losses_of(self, model: nn.Module) -> dict[str, float]:
        """The measured losses, with the model in eval mode; its modes and the random state are left as they were."""
        assert self.measure is not None  # noqa: S101 - asked for only with one
        with in_eval_mode(model):
            return losses_by_task(self.measure(model))

    def state(self) -> dict[str, Any]:
        """The numbers, for a checkpoint; the samples are not stored."""
        return {
            "rise": self.rise, "absolute": self.absolute, "every": self.every, "at_end": self.at_end,
            "factor": self.factor, "loss1": self._loss1, "before": dict(self._before), "w1": self._w1,
            "statistics1": self._statistics1, "correction": self._correction, "steps": self._steps,
            "predicted": self.predicted, "rises": None if self._found is None else dict(self._found.rises),
        }  # fmt: skip

    @classmethod
    def of(
        cls,
        state: Mapping[str, Any],
        measure: Callable[[nn.Module], Any] | None,
        outputs: OutputChange | None = None,
        predict: Callable[[float], float] = float,
    ) -> Budget:
        """A budget that goes on from a stored one.

        Args:
            state: What :meth:`state` returned.
            measure: How the rise is measured from now on; None to predict it alone.
            outputs: What corrects the prediction.
            predict: The rise that a value of the penalty predicts.

        Raises:
            InputError: If the stored factor is not positive.
        """
        given = {name: state[name] for name in ("rise", "absolute", "every", "at_end")}
        budget = cls(**given, measure=measure, outputs=outputs, predict=predict)
        budget.factor = check_positive("factor", state["factor"])
        budget._w1, budget._statistics1 = state["w1"], dict(state["statistics1"])
        budget._loss1 = float(state["loss1"])
        budget._before = {str(task): float(loss) for task, loss in state["before"].items()}
        budget._correction, budget._steps = float(state["correction"]), int(state["steps"])
        budget.predicted = float(state["predicted"])
        if measure is not None and state["rises"] is not None:
            bound = {task: allowed_rise(loss, budget.rise, budget.absolute) for task, loss in budget._before.items()}
            budget._found = RiseOfTasks({str(task): float(rise) for task, rise in state["rises"].items()}, bound)
        return budget

    def spent(self) -> Rise:
        """How much the loss rose, and what was done about it."""
        task, by_task = (None, {}) if self._found is None else self._found.named()
        allowed, share = self.allowed, math.log1p(self.rise)
        is_absolute = allowed > share * (1 + 1e-9)
        why = f"{self.absolute:g} in the loss, as {100 * self.rise:g} % of it is less" if is_absolute else ""
        return Rise(self.predicted, self.measured, allowed, self.factor, task, by_task, why)

    def spent_at(self, model: nn.Module, value: float) -> Rise:
        """How much the loss rose at other weights than those measured last; the training goes on as it would have.

        In a distributed training it is that of the samples of this process.

        Args:
            model: The model with these weights.
            value: The penalty there, without the factor.
        """
        there = copy.copy(self)
        there.predicted = self.predicted_at(value)
        if self.measure is not None:
            now = self._losses_of(model)
            there._found = self._compared(self._before, now) if now.keys() == self._before.keys() else None
        return there.spent()


def _between(start: Tensor | None, end: Tensor, share: float) -> Tensor:
    """The weights on the straight line from the end of the task."""
    return end if start is None or share == 1 else start.to(end) + share * (end - start.to(end))
