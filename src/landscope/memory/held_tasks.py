"""What a memory holds of all finished tasks: their penalty, its strength, and a budget for it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from landscope._checks import check_strength
from landscope.errors import InputError, LandscopeWarning
from landscope.memory.between_tasks.changed_model import ChangedModel, changed_names
from landscope.memory.between_tasks.fingerprint import Fingerprint
from landscope.memory.between_tasks.state import MemoryState
from landscope.memory.between_tasks.unheld_steps import ChangesInPlace
from landscope.memory.budgeted_tasks import BudgetedTasks
from landscope.memory.methods.method import Method
from landscope.memory.replay.replayed_tasks import ReplayedTasks
from landscope.memory.report.task_history import TaskHistory
from landscope.memory.strength.budget import Budget
from landscope.memory.strength.output_change import OutputChange
from landscope.memory.task_names import new_name
from landscope.parameters import ParameterSpace
from landscope.penalties.compression.scaled import scaled_penalty
from landscope.penalties.warnings import listed, warn
from landscope.protocols import Penalty
from landscope.risk.empirical import EmpiricalRisk
from landscope.risk.other_model import risk_of_other_model
from landscope.sharded import was_left_by_error
from landscope.wording import first_lines

__all__ = ["HeldTasks"]


class HeldTasks(BudgetedTasks):
    """The penalty of all finished tasks.

    Args:
        space: The selected weights.
        method: The method that made it.
        strength: Its factor lambda.
        rank: Number of directions to keep for all tasks together; all by default.
        replayed: Their samples, where these are learnt again.
        outputs: What multiplies the strength where outputs move farther than to first order; None for nothing.
        ratio: Loss at the edge of a basin over that at its minimum.
        whole: Whether all trainable weights were selected, so that a budget measures the model as it is, also with
            weights that were frozen or did not exist; otherwise what is not selected is as it was where a task ended.
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
        *,
        whole: bool = False,
    ) -> None:
        self._ratio, self._whole = ratio, whole
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
            self._note_measured(model)
            if self._is_comparable(measure, model):
                self._compare_with_end(model, self.budget)
        elif self.budget is not None:
            self.budget.measure = self._measure_after_loading()
            self._start_at_end(model, None)
        self._end_useless_budget()

    def end_training(self, model: nn.Module) -> None:
        """End a training."""
        super().end_training(model)
        if not was_left_by_error(model):
            self.see(model)

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
        penalty, (samples, reason) = change.penalty(self.penalty), self._samples_of(change)
        lost = self._lost(reason)
        if self.penalty is not None:
            change.warn(holds=self.strength > 0, rows=rows, samples=lost)
        self._space, self.penalty = space, penalty
        self.see(model)
        self._follow_samples(change, samples, is_lost=bool(lost))

    def follow_base(self, model: nn.Module) -> None:
        """Measure with frozen parameters that changed their shape, as embeddings of more words beside adapters."""
        if not self.fingerprint.resized_base(model):
            return
        change = ChangedModel(self._space, self._space, model, self.fingerprint)
        samples, reason = self._samples_of(change) if self._whole else (self._samples, "")
        if lost := self._lost(reason):
            change.warn(samples=lost)
        self._follow_samples(change, samples, is_lost=bool(lost))

    def _follow_samples(self, change: ChangedModel, samples: list[EmpiricalRisk], *, is_lost: bool) -> None:
        """Let a budget go on with the changed model, on these samples."""
        self._samples, self.fingerprint = samples, self.fingerprint.with_base_of(change.model)
        if is_lost:
            self._leave_out_samples()
        if self.budget is not None:
            self.budget.follow_model(change.weights, None if is_lost else self.budget.measure)
            if self.n_tasks and self.budget.measure is not None:
                self._compare_with_end(change.model, self.budget, is_resized=True)
        self._end_useless_budget()

    def _samples_of(self, change: ChangedModel) -> tuple[list[EmpiricalRisk], str]:
        """The samples of a budget for a model whose parameters changed; or none, and why they do not fit it."""
        if lost := change.lost:
            return [], f"{listed(lost)} no longer contain the values with which these were learnt"
        try:
            return [risk_of_other_model(risk, change.model, change.new) for risk in self._samples], ""
        except Exception as error:  # noqa: BLE001 - another model may fail in any manner
            return [], f"the model has no loss on these now ({first_lines(error)})"

    @staticmethod
    def _at(penalty: Penalty, before: float, after: float) -> Penalty:
        if before == 0:
            raise InputError(
                expected="tasks that are held at a strength above 0", got="0, which cannot be scaled",
                hint="Make the memory with a strength above 0, and consolidate the tasks again.",
            )  # fmt: skip
        return scaled_penalty(penalty, after / before)
