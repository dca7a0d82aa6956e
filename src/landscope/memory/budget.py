"""A strength that follows from how much the loss of earlier tasks may rise."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from landscope._checks import check_count, check_kind, check_number, check_positive, check_strength
from landscope.errors import InputError
from landscope.memory.evaluations import in_eval_mode
from landscope.memory.output_change import OutputChange
from landscope.risk.running_statistics import copied_statistics, lerped_statistics, set_statistics, with_statistics

__all__ = ["Budget", "Rise"]

_RATE = 0.1
"""Largest change of ln lambda in a step: a factor of ten takes 23 steps."""
_LEAST, _MOST = 1e-3, 1e6
"""Factors between which the strength is adapted."""
_LARGEST_CORRECTION = 1e4
_HALVINGS = 6
"""Halvings of the way back to the end of a task."""

At = Callable[[Tensor], contextlib.AbstractContextManager[nn.Module]]
"""``at(w)`` is a context in which the model has the weights w."""


@dataclasses.dataclass(frozen=True)
class Rise:
    r"""How much the loss L of earlier tasks rose since the last one ended, as :math:`\ln(L / L_1)`.

    Args:
        predicted: By the penalty; exact only near the end of the task. NaN where the penalty predicts none.
        measured: On samples of earlier tasks; None without any.
        allowed: By the budget.
        factor: By how much the strength was multiplied to stay within it.
    """

    predicted: float
    measured: float | None
    allowed: float
    factor: float


class Budget:
    r"""Adapts the factor of a penalty at every step, so that the loss L of earlier tasks rises by a chosen share.

    .. math:: \ln \frac{L}{L_1} \le \ln\Big(1 + \max\Big(\rho, \frac{a}{L_1}\Big)\Big)

    with the share rho and the absolute rise a, which matters where the loss is near zero. The rise is what the penalty
    predicts, or what is measured on a few samples of earlier tasks: every few steps, the ratio of the measured to the
    predicted rise corrects the prediction, and weights that went too far go back toward the end of the task until the
    measured rise is within the bound. Every loss is that of the running statistics that the model then has, and these
    go back with the weights. While the rise is below its bound, the factor falls, so the new task learns as freely as
    the bound allows.

    Args:
        rise: Share rho, 0.05 for 5 %.
        absolute: Rise a of the loss that is always allowed.
        measure: ``measure(model)`` gives the mean loss on samples of earlier tasks.
        every: Number of steps between two measurements.
        outputs: What corrects the prediction where outputs move farther than to first order.
        at_end: Whether to measure at the end of each training alone: the strength is the usual one, and only the end
            goes back toward the end of the task. Without a measurement it has no effect.

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
        self.factor, self._loss1, self._measured1 = 1.0, math.nan, math.nan
        self._correction, self._steps = 1.0, 0
        self._w1: Tensor | None = None
        self._statistics1: dict[str, Tensor] = {}
        """Running statistics at the end of the task."""
        self.scale = 1.0
        """Rise of ln L for each unit of the penalty."""
        self.predicted, self.measured = 0.0, None if measure is None else 0.0

    @property
    def allowed(self) -> float:
        """The largest rise of ln L."""
        loss1 = self._loss1 if math.isnan(self._measured1) else self._measured1
        least = self.absolute / loss1 if loss1 > 0 else 0.0
        return math.log1p(max(self.rise, least))

    def start(self, model: nn.Module, w1: Tensor, loss1: float) -> None:
        """Begin at the end of a task.

        Args:
            model: The model there.
            w1: Its selected weights.
            loss1: The loss of the earlier tasks there.
        """
        self._w1, self._loss1, self._correction, self._steps = w1.detach().clone(), loss1, 1.0, 0
        self.predicted, self._statistics1 = 0.0, copied_statistics(model)
        if self.measure is not None:
            self._measured1, self.measured = self._loss_of(model), 0.0

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
            The weights to take: those given, or, where a measured rise is above the bound, the farthest ones on the
            line to the end of the task that stay within it.
        """
        scale = self.scale
        if self.outputs is not None and self.follows_outputs:
            self.outputs.follow(value, weights, at)
            scale *= self.outputs.factor
        self.predicted = scale * value
        if self.at_end and self.measure is not None:
            self.factor = 1.0 if self.outputs is None else self.outputs.factor
            return weights
        if self.measure is not None and self._steps % self.every == 0:
            weights = self._measured_within(weights, at)
        self._steps += 1
        driving = self.predicted if moved is None else scale * moved
        over = math.log(max(self._correction * driving, 1e-30) / self.allowed)
        self.factor = min(_MOST, max(_LEAST, self.factor * math.exp(_RATE * max(-1.0, min(1.0, over)))))
        return weights

    def follow_model(self, carried: Callable[[Tensor], Tensor], measure: Callable[[nn.Module], Any] | None) -> None:
        """Go on with a model whose parameters changed.

        Args:
            carried: Gives the weights at the end of the task on the present parameters.
            measure: How the rise is measured from now on; None to predict it alone.
        """
        self._w1 = None if self._w1 is None else carried(self._w1)
        self.measure, self.measured = measure, None if measure is None else self.measured

    def last(self, weights: Tensor, at: At) -> Tensor:
        """The weights to end a training with: those given, or where the rise is within the bound."""
        if self.outputs is not None and self.follows_outputs:
            weights = self.outputs.last(weights, at)
        return weights if self.measure is None else self._measured_within(weights, at)

    def _measured_within(self, weights: Tensor, at: At) -> Tensor:
        """Measure the rise; go back toward the end of the task where it is too large."""
        with at(weights) as model:
            statistics = copied_statistics(model)

        def loss(share: float) -> float:
            there = lerped_statistics(self._statistics1, statistics, share)
            with at(_between(self._w1, weights, share)) as model, with_statistics(model, there):
                return self._loss_of(model)

        if math.isnan(self._measured1) and self._w1 is not None:  # a stored budget that was not measured before
            self._measured1 = loss(0.0)
        self.measured = self._log_rise(loss(1.0))
        if self.predicted > 0:
            ratio = self.measured / self.predicted
            self._correction = min(_LARGEST_CORRECTION, max(1 / _LARGEST_CORRECTION, ratio))
        if self.measured <= self.allowed or self._w1 is None:
            return weights
        low, high, least = 0.0, 1.0, None
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if (found := self._log_rise(loss(middle))) <= self.allowed:
                low, least = middle, found
            else:
                high = middle
        self.measured = self._log_rise(loss(0.0)) if least is None else least
        with at(weights) as model:
            set_statistics(model, lerped_statistics(self._statistics1, statistics, low))
        return _between(self._w1, weights, low)

    def _log_rise(self, loss: float) -> float:
        tiny = 1e-12
        return math.log(max(loss, tiny) / max(self._measured1, tiny))

    @torch.no_grad()
    def _loss_of(self, model: nn.Module) -> float:
        """The measured loss, with the model in eval mode; its modes and the random state are left as they were."""
        assert self.measure is not None  # noqa: S101 - asked for only with one
        with in_eval_mode(model):
            return float(check_number("the measured loss", float(self.measure(model))))

    def state(self) -> dict[str, Any]:
        """The numbers, for a checkpoint; the samples are not stored."""
        return {
            "rise": self.rise, "absolute": self.absolute, "every": self.every, "at_end": self.at_end,
            "factor": self.factor, "loss1": self._loss1, "measured1": self._measured1, "w1": self._w1,
            "statistics1": self._statistics1, "correction": self._correction, "steps": self._steps,
            "predicted": self.predicted, "measured": self.measured,
        }  # fmt: skip

    @classmethod
    def of(
        cls,
        state: Mapping[str, Any],
        measure: Callable[[nn.Module], Any] | None,
        outputs: OutputChange | None = None,
    ) -> Budget:
        """A budget that goes on from a stored one.

        Args:
            state: What :meth:`state` returned.
            measure: How the rise is measured from now on; None to predict it alone.
            outputs: What corrects the prediction.
        """
        given = {name: state[name] for name in ("rise", "absolute", "every", "at_end")}
        budget = cls(**given, measure=measure, outputs=outputs)
        budget.factor = check_positive("factor", state["factor"])
        budget._w1, budget._statistics1 = state["w1"], dict(state["statistics1"])
        budget._loss1, budget._measured1 = float(state["loss1"]), float(state["measured1"])
        budget._correction, budget._steps = float(state["correction"]), int(state["steps"])
        budget.predicted = float(state["predicted"])
        budget.measured = None if measure is None else float(state["measured"] or 0.0)
        return budget

    def spent(self) -> Rise:
        """How much the loss rose, and what was done about it."""
        return Rise(self.predicted, self.measured, self.allowed, self.factor)


def _between(start: Tensor | None, end: Tensor, share: float) -> Tensor:
    """The weights on the straight line from the end of the task."""
    return end if start is None or share == 1 else start.to(end) + share * (end - start.to(end))
