"""What a memory holds of all finished tasks: their penalty, its strength, and a budget for it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from landscope._checks import check_count, check_strength
from landscope.errors import InputError, LandscopeWarning
from landscope.memory.between_tasks.changed_model import ChangedModel, changed_names
from landscope.memory.between_tasks.end_of_task import at_weights
from landscope.memory.between_tasks.fingerprint import Fingerprint
from landscope.memory.between_tasks.state import MemoryState
from landscope.memory.between_tasks.unheld_steps import ChangesInPlace
from landscope.memory.methods.method import Method
from landscope.memory.replay.replayed_tasks import ReplayedTasks
from landscope.memory.report.rise import Rise
from landscope.memory.report.task_history import TaskHistory
from landscope.memory.strength.budget import Budget
from landscope.memory.strength.output_change import OutputChange
from landscope.memory.task_names import new_name
from landscope.parameters import ParameterSpace, named_tensors
from landscope.penalties.compression.moved import anchor_of
from landscope.penalties.compression.scaled import scaled_penalty
from landscope.penalties.warnings import listed, warn
from landscope.protocols import Penalty
from landscope.risk.empirical import EmpiricalRisk
from landscope.risk.running_statistics import copied_statistics

__all__ = ["HeldTasks"]


class HeldTasks:
    """The penalty of all finished tasks.

    Args:
        space: The selected weights.
        method: The method that made it.
        strength: Its factor lambda.
        rank: Number of directions to keep for all tasks together; all by default.
        replayed: Their samples, where these are learnt again.
        outputs: What multiplies the strength where outputs move farther than to first order; None for nothing.
        ratio: Loss at the edge of a basin over that at its minimum.
    """

    def __init__(
        self,
        space: ParameterSpace,
        method: Method,
        strength: float,
        rank: int | None,
        replayed: ReplayedTasks | None = None,
        outputs: OutputChange | None = None,
        ratio: float = math.e,
    ) -> None:
        self._ratio = ratio
        self._space, self._method, self.strength, self._rank = space, method, strength, rank
        self.replayed = replayed
        self.penalty: Penalty | None = None
        self.names: list[str] = []
        """Name of each task."""
        self.losses: list[float] = []
        """Loss of each task at its end."""
        self.budget: Budget | None = None
        self.outputs = outputs
        self.history = TaskHistory()
        self._n_samples = 0
        self._samples: list[EmpiricalRisk] = []
        self.is_trained = False
        """Whether a training began since the last task ended."""
        self._changes = ChangesInPlace()
        self.was_left_out = False
        """Whether the model was trained since then without the memory, as far as that was asked."""
        self.fingerprint = Fingerprint()
        """What the model was when its tasks were kept."""

    @property
    def n_tasks(self) -> int:
        """Number of finished tasks."""
        return len(self.names)

    def next_name(self, given: str | None, model: nn.Module) -> str:
        """The name of a task that ends now.

        Raises:
            InputError: If another task has the name, or no name is given and nothing was learnt since the last task.
        """
        is_new = self.is_trained or not self.n_tasks or given is not None or not self.history.is_at_end(model)
        return new_name(given, self.names, is_new=is_new)

    def with_replay(self, model: nn.Module, data: Any, loss: float) -> ReplayedTasks | None:
        """What will be replayed with a task that ends now; None where nothing is."""
        if self.replayed is None:
            return None
        if data is None:
            raise InputError(
                expected="the data of the task, to replay samples of it", got="a risk alone",
                hint="Call memory.consolidate(criterion, data).",
            )  # fmt: skip
        return self.replayed.with_task(model, data, loss, self._n_samples)

    def add(
        self, latest: Penalty, risk: EmpiricalRisk, loss: float, model: nn.Module, replayed: ReplayedTasks | None,
        name: str,
    ) -> Penalty:  # fmt: skip
        """Add the penalty of a task that ended at the weights of its risk, and what is replayed with it."""
        self.penalty = self._method.added(self.penalty, latest, self._rank, risk.w0)
        self.names, self.losses, self.replayed = [*self.names, name], [*self.losses, loss], replayed
        self.fingerprint = Fingerprint.of(model, self._space, risk.w0)
        if self._n_samples and not self._measures_on_replayed:
            self._samples.append(risk.random_subset(self._n_samples, seed=self.n_tasks))
        if self.outputs is not None:
            self.outputs.start()
        self._start_budget(model)
        self.history.end_task(model, self.n_stored)
        return self.penalty

    def wait_for_training(self, model: nn.Module) -> None:
        """Begin where no training has begun."""
        self.is_trained = self.was_left_out = False
        self._changes.start(self._space.tensors(model))

    def follow_gradient(self, model: nn.Module) -> None:
        """Note that a gradient of the penalty was taken outside of a training: what comes next may be a step of it."""
        self._changes.start(self._space.tensors(model))

    def warn_if_trained_without(self, model: nn.Module) -> None:
        """Say once where the model was trained since the last task, and never with this memory.

        Weights that were loaded, averaged or merged are no training.
        """
        holds = self.n_tasks and (self.strength > 0 or self.replayed is not None)
        if self.is_trained or self.was_left_out or not holds or changed_names(self._space, model):
            return
        if self._changes.are_a_training(self._space.tensors(model)) and not self.history.is_at_end(model):
            self.was_left_out = True
            warn(
                f"the model was trained since {self.names[-1]!r} ended, and no step was taken inside `with "
                "memory.training(optimizer):`, so this memory held nothing meanwhile; go back to the weights at the "
                "end of that task, and train inside it or with a callback of landscope.adapters",
                LandscopeWarning,
            )

    @property
    def n_stored(self) -> int:
        """Number of values stored: the penalty, and what is replayed."""
        parts = (self.penalty if self.strength else None, self.replayed)  # one of strength 0 is never used
        return sum(part.n_stored for part in parts if part is not None)

    def on(self, device: torch.device, dtype: torch.dtype) -> Penalty | None:
        """The penalty, moved there for good."""
        if self.penalty is not None:
            self.penalty = self.penalty.to(device, dtype)
        return self.penalty

    def set_strength(self, value: float) -> None:
        """Hold all tasks at another strength."""
        value = float(check_strength("strength", value))
        if self.penalty is not None and value != self.strength:
            self.penalty = self._at(self.penalty, self.strength, value)
        self.strength = value

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

    def rise(self) -> Rise | None:
        """How much the loss rose since the last task ended; None without a budget."""
        if self.budget is None:
            return None
        spent = self.budget.spent()
        predicts = self._method.unit_of_rise is not None
        return spent if predicts else dataclasses.replace(spent, predicted=math.nan)

    def load(self, state: MemoryState, model: nn.Module) -> None:
        """Go on from a stored state, at the strength and with the budget's samples of this memory."""
        replayed = None if self.replayed is None else self.replayed.loaded(state.replayed or {}, model)
        penalty = state.held
        if penalty is not None and state.strength != self.strength:
            penalty = self._at(penalty, state.strength, self.strength)
        self.penalty, self.names, self.losses, self.replayed = (
            penalty, list(state.names), list(state.losses), replayed,
        )  # fmt: skip
        self.wait_for_training(model)
        if self.outputs is not None and state.outputs is not None:
            self.outputs.load(state.outputs)
        self.fingerprint = state.fingerprint
        self.history = TaskHistory.of(state.history) if state.history else TaskHistory()
        if state.budget is not None:
            measure = self._measure_after_loading(state.budget)
            self.budget = Budget.of(state.budget, measure, self.outputs, self._predicted)
            if self._is_comparable(measure, model):
                self._compare_with_end(model, self.budget)
        elif self.budget is not None:
            self.budget.measure = self._measure_after_loading()
            self._start_at_end(model, None)
        self._end_useless_budget()

    def see(self, model: nn.Module) -> None:
        """Note the weights as they are, by which they are recognised where their shape changes later."""
        if self.fingerprint.selected and not changed_names(self._space, model):
            self.fingerprint = self.fingerprint.seen(self._space, self._space.flatten(model))

    def warn_of_new_values(self, tensors: list[Tensor]) -> None:
        """Say which held parameters have new values where the rest is as it was, such as a new head."""
        named = dict(zip(self._space.names, tensors, strict=True))
        if self.penalty is None or not self.strength or not (new := self.fingerprint.with_new_values(named)):
            return
        warn(
            f"{listed(new)} have new values since they were last seen, and the other weights are as they were; they "
            "are held at the values at the end of the last task, and drawn back there. For a new head of the same "
            "shape, make the memory with select= of the weights that all tasks share, before the head is replaced",
            LandscopeWarning,
        )

    def follow(self, space: ParameterSpace, model: nn.Module, *, rows: bool) -> None:
        """Hold what is shared with the parameters that the model has now, and say what is not.

        Raises:
            InputError: If no weight is shared.
        """
        change = ChangedModel(self._space, space, model, self.fingerprint)
        penalty, own_samples = change.penalty(self.penalty), bool(self._samples)
        if self.penalty is not None:
            lost = self.budget if own_samples else None
            change.warn(rows=rows, samples="" if lost is None else self._unmeasured(at_end=lost.at_end))
        self._space, self.penalty, self._samples = space, penalty, []
        self.see(model)
        if self.budget is not None:
            self.budget.follow_model(change.weights, None if own_samples else self.budget.measure)
        self._end_useless_budget()

    def _can_predict(self, *, at_end: bool) -> bool:
        """Whether a budget has an effect without a measurement."""
        return self._method.unit_of_rise is not None and not at_end

    def _unmeasured(self, *, at_end: bool) -> str:
        """What follows where nothing measures the rise any more."""
        if self._can_predict(at_end=at_end):
            return "the rise is predicted from now on"
        return "the budget ends, and the tasks are held at the strength of the memory"

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
            found = [risk.at_model(model) for risk in self._samples]
        return dict(zip(self.names, found, strict=True))

    @staticmethod
    def _at(penalty: Penalty, before: float, after: float) -> Penalty:
        if before == 0:
            raise InputError(
                expected="tasks that are held at a strength above 0", got="0, which cannot be scaled",
                hint="Make the memory with a strength above 0, and consolidate the tasks again.",
            )  # fmt: skip
        return scaled_penalty(penalty, after / before)

    def _start_budget(self, model: nn.Module) -> None:
        if self.budget is not None and self.losses:
            self.budget.start(model, self._space.flatten(model), max(self.losses))

    def _start_at_end(self, model: nn.Module, previous: Budget | None) -> None:
        """Start a budget where the last task ended, also where the next one has begun since."""
        if self.budget is not None and self.losses:
            w1, statistics1 = self._end(model, previous)
            with at_weights(model, self._space, w1, statistics1):
                self.budget.start(model, w1, max(self.losses))

    def _end(self, model: nn.Module, previous: Budget | None) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Weights and running statistics at the end of the last task, as far as they are known."""
        w = self._space.flatten(model).detach()
        if previous is not None and (end := previous.end) is not None:
            return end[0].to(w), end[1]
        if (there := self.history.end_of(model)) is not None:
            return self._space.flatten(there).detach().to(w), copied_statistics(there)
        return (w if self.penalty is None else anchor_of(self.penalty, w)), {}

    def _compare_with_end(self, model: nn.Module, budget: Budget) -> None:
        """Measure the end of the last task again, from which a stored budget counts."""
        if (end := budget.end) is None or any(tensor.is_meta for tensor in self._space.tensors(model)):
            return
        with at_weights(model, self._space, *end):
            budget.compare_at_end(model)

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
