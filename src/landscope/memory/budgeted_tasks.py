"""The part of a memory's tasks that is about a budget: how much their loss may rise, and on what that is measured."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from landscope._checks import check_count, check_kind, check_strength
from landscope.errors import InputError
from landscope.memory.between_tasks.changed_model import changed_names
from landscope.memory.between_tasks.end_of_task import at_weights
from landscope.memory.between_tasks.fingerprint import Fingerprint
from landscope.memory.methods.method import Method
from landscope.memory.replay.replayed_tasks import ReplayedTasks
from landscope.memory.report.rise import Rise
from landscope.memory.report.task_history import TaskHistory
from landscope.memory.strength.budget import Budget
from landscope.memory.strength.output_change import OutputChange
from landscope.parameters import ParameterSpace, named_tensors
from landscope.penalties.compression.moved import anchor_of
from landscope.penalties.warnings import listed, warn
from landscope.protocols import Penalty
from landscope.recorder.checks import fingerprint
from landscope.risk.empirical import EmpiricalRisk
from landscope.risk.running_statistics import copied_statistics
from landscope.sharded import was_left_by_error

__all__ = ["BudgetedTasks"]


class BudgetedTasks:
    """Finished tasks whose losses may have a budget."""

    strength: float
    replayed: ReplayedTasks | None
    penalty: Penalty | None
    names: list[str]
    losses: list[float]
    budget: Budget | None
    outputs: OutputChange | None
    history: TaskHistory
    fingerprint: Fingerprint
    _whole: bool
    _space: ParameterSpace
    _method: Method
    _ratio: float
    _n_samples: int
    _samples: list[EmpiricalRisk]
    _is_training = False
    _measured_at: list[int] | None = None
    """Fingerprint of the model where its rise was measured last."""
    _found_there: Rise | None = None
    """What was measured there since the last training; None for what the budget measured."""

    @property
    def n_tasks(self) -> int:
        """Number of finished tasks."""
        return len(self.names)

    def set_budget(
        self,
        rise: float | None,
        absolute: float,
        samples: int | Callable[[nn.Module], Any],
        every: int,
        at_end: bool,
        model: nn.Module,
    ) -> None:
        """Adapt the strength to a budget, or with None no longer."""
        n_samples = 0 if callable(samples) else check_count("samples", samples, minimum=0)
        check_strength("absolute", absolute)
        check_count("every", every)
        check_kind("at_end", at_end, bool, hint="Pass True or False.")
        if rise is not None and n_samples and self.n_tasks and not self._can_measure:
            raise InputError(
                expected="a budget with samples before the first task is consolidated",
                got=f"{self.n_tasks} tasks without samples",
                hint="Pass samples=f with f(model), the mean loss on samples of theirs, or ls.keep(..., budget=0.05).",
            )  # fmt: skip
        measure = samples if callable(samples) else (self._measured if samples else None)
        if rise is not None and measure is None and at_end:
            raise InputError(
                expected="samples with at_end=True, to measure the rise on", got="none", hint="Pass samples=100."
            )
        if rise is not None and measure is None and self._method.unit_of_rise is None:
            raise InputError(
                expected="a method that predicts the rise of the loss, or samples to measure it on",
                got=f"{self._method.name} alone", hint='Pass samples=100, or take the method "basin".',
            )  # fmt: skip
        previous, self.budget = self.budget, None
        if rise is not None:
            self.budget = Budget(
                rise, absolute=absolute, measure=measure, every=every,
                outputs=self.outputs, at_end=at_end, predict=self._predicted,
            )  # fmt: skip
        self._n_samples = n_samples
        self._start_at_end(model, previous)

    @property
    def adapted(self) -> Budget | OutputChange | None:
        """What adapts the strength in a training: a budget, or else how far the outputs have moved."""
        return self.outputs if self.budget is None else self.budget

    @property
    def followed(self) -> OutputChange | None:
        """What follows the outputs in a training; None where measurements of a budget take its place."""
        return self.outputs if self.budget is None or self.budget.follows_outputs else None

    @property
    def measured_on(self) -> str:
        """On what a budget measures, in words."""
        if self.budget is None or self.budget.measure is None:
            return "predicted"
        if not self._n_samples:
            return "measured by samples=f"
        if self.replayed is None or not self._measures_on_replayed:
            return f"measured on up to {self._n_samples} samples of each task"  # data may have fewer
        least, most = min(self.replayed.counts), max(self.replayed.counts)
        return f"measured on {f'{least} to {most}' if least < most else most} samples of each task"

    def rise(self, model: nn.Module) -> Rise | None:
        """How much the loss rose since the last task ended, at the weights of a model; None where that is not known."""
        if self.budget is None or changed_names(self._space, model) or self.fingerprint.resized_base(model):
            return None
        spent = self._spent(self.budget, model)
        predicts = self._method.unit_of_rise is not None
        return spent if predicts else dataclasses.replace(spent, predicted=math.nan)

    def _spent(self, budget: Budget, model: nn.Module) -> Rise:
        """What was measured last, where the model is as it was then; otherwise what is measured now."""
        if not self.losses or self._is_training or _is_on_meta(model):
            return budget.spent()
        now = _bits(model)
        if now != self._measured_at:
            self._measured_at, self._found_there = now, budget.spent_at(model, self._value(model))
        return self._found_there or budget.spent()

    @torch.no_grad()
    def _value(self, model: nn.Module) -> float:
        """The penalty at the weights of a model."""
        w = self._space.flatten(model)
        return 0.0 if self.penalty is None else float(self.penalty.to(w.device, w.dtype)(w))

    def start_training(self) -> None:
        """Begin a training, in which a budget measures by itself."""
        self._is_training = True
        if self.budget is not None:
            self.budget.is_latest = False

    def end_training(self, model: nn.Module) -> None:
        """End it; what was measured last belongs to the weights as they are now, if it was measured at the end."""
        self._is_training = False
        if was_left_by_error(model):
            self._measured_at = self._found_there = None
            return
        if self.budget is not None and self.budget.is_latest:  # the weights may have gone back to a budget
            self.budget.predicted = self.budget.predicted_at(self._value(model))
        self._note_measured(model)

    def _note_measured(self, model: nn.Module) -> None:
        is_latest = self.budget is not None and self.budget.is_latest and not _is_on_meta(model)
        self._measured_at, self._found_there = _bits(model) if is_latest else None, None

    def _can_predict(self, *, at_end: bool) -> bool:
        """Whether a budget has an effect without a measurement."""
        return self._method.unit_of_rise is not None and not at_end

    def _unmeasured(self, *, at_end: bool) -> str:
        """What follows where nothing measures the rise any more."""
        if self._can_predict(at_end=at_end):
            return "the rise is predicted from now on"
        if not self.strength:
            return "the budget ends, and the tasks are replayed without one"
        return "the budget ends, and the tasks are held at the strength of the memory"

    @property
    def _measures_on_own(self) -> bool:
        """Whether a budget measures on samples of the tasks that this memory has."""
        return bool(self._n_samples) and bool(self._samples or self._measures_on_replayed)

    def _lost(self, reason: str) -> str:
        """What it means that these samples do not fit the model any more; nothing without a reason or samples."""
        if not reason or self.budget is None or not self._measures_on_own:
            return ""
        tasks = listed([repr(name) for name in self.names])
        return (
            f"{reason}: the rise of {tasks} can no longer be measured, so {self._unmeasured(at_end=self.budget.at_end)}"
        )

    def _leave_out_samples(self) -> None:
        """Keep no samples of tasks to measure on, nor of later ones, as a budget needs those of all."""
        self._samples, self._n_samples = [], 0
        self.replayed = None if self.replayed is None else self.replayed.without_held_out()

    def _end_useless_budget(self) -> None:
        if (budget := self.budget) is not None and budget.measure is None:
            self.budget = budget if self._can_predict(at_end=budget.at_end) else None

    def _measure_after_loading(self, stored: Mapping[str, Any] | None = None) -> Callable[[nn.Module], Any] | None:
        """How the rise is measured after a state was loaded: only with replay of real samples, it has some."""
        measure = None if self.budget is None else self.budget.measure
        if measure is None and self.replayed is not None and self.replayed.held_out is not None:
            self._n_samples = max(self.replayed.counts)
            return self._measured
        was_measured = self.budget is None and stored is not None and bool(stored["before"])
        if measure is not None and (self._can_measure or not self._n_samples):
            return measure
        if measure is None and not was_measured:
            return None
        at_end = bool(stored["at_end"]) if stored is not None else self.budget is not None and self.budget.at_end
        warn(
            f"a state of a memory has no samples of its tasks, so {self._unmeasured(at_end=at_end)}; to measure it, "
            "make the memory as before, by ls.keep(..., budget=...) at the weights that it keeps, and load weights and "
            "state after that, or pass memory.budget(..., samples=f) with f(model), the mean loss on samples of theirs"
        )
        return None

    @property
    def _measures_on_replayed(self) -> bool:
        return self.replayed is not None and self.replayed.can_measure

    @property
    def _can_measure(self) -> bool:
        """Whether there are samples of all tasks."""
        return self._measures_on_replayed or len(self._samples) == self.n_tasks

    def _measured(self, model: nn.Module) -> dict[str, float]:
        """The loss of each task on its samples, by its name."""
        if self.replayed is not None and self.replayed.can_measure:
            found = self.replayed.measured(model)
        else:
            found = [risk.at_model(model, whole=self._whole) for risk in self._samples]
        return dict(zip(self.names, found, strict=True))

    def _start_budget(self, model: nn.Module) -> None:
        if self.budget is not None and self.losses:
            self.budget.start(model, self._space.flatten(model), max(self.losses))
        self._note_measured(model)

    def _start_at_end(self, model: nn.Module, previous: Budget | None) -> None:
        """Start a budget where the last task ended, also where the next one has begun since."""
        if self.budget is not None and self.losses:
            w1, statistics1 = self._end(model, previous)
            with at_weights(model, self._space, w1, statistics1):
                self.budget.start(model, w1, max(self.losses))
                self._note_measured(model)

    def _end(self, model: nn.Module, previous: Budget | None) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Weights and running statistics at the end of the last task, as far as they are known."""
        w = self._space.flatten(model).detach()
        if previous is not None and (end := previous.end) is not None:
            return end[0].to(w), end[1]
        if (there := self.history.end_of(model)) is not None:
            return self._space.flatten(there).detach().to(w), copied_statistics(there)
        return (w if self.penalty is None else anchor_of(self.penalty, w)), {}

    def _compare_with_end(self, model: nn.Module, budget: Budget, *, is_resized: bool = False) -> None:
        """Measure the end of the last task again, from which a budget counts that was stored, or of a smaller model."""
        if (end := budget.end) is None or _is_on_meta(model):
            return
        with at_weights(model, self._space, *end):
            budget.compare_resized(model) if is_resized else budget.compare_at_end(model)

    def _is_comparable(self, measure: Callable[[nn.Module], Any] | None, model: nn.Module) -> bool:
        """Whether a measure of this memory can be compared with the numbers of a state.

        Samples that are replayed are those of the state. A function also depends on the weights that are not held, and
        a state does not have these.
        """
        if measure is None or (self._n_samples and self._measures_on_replayed):
            return False
        trained = (name for name, tensor in named_tensors(model).items() if tensor.requires_grad)
        return bool(self._n_samples) or set(trained) <= set(self._space.names)

    def _predicted(self, value: float) -> float:
        """The rise of ln L that a value of the penalty at the present strength predicts."""
        unit = (self._method.unit_of_rise or 1.0) / self.strength if self.strength else 0.0
        return self._method.predicted_rise(unit * value, self._ratio)


def _is_on_meta(model: nn.Module) -> bool:
    """Whether a model has no weights yet."""
    return any(tensor.is_meta for tensor in model.parameters())


def _bits(model: nn.Module) -> list[int]:
    """A number for each tensor of a model, also for running statistics, that changes with its values."""
    return fingerprint([value for value in model.state_dict().values() if isinstance(value, Tensor) and value.numel()])
