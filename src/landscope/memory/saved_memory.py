"""The part of a memory that goes into checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from landscope.errors import StorageError
from landscope.memory.between_tasks.changed_model import ChangedModel, changed_names, check_base, stored_space
from landscope.memory.between_tasks.loaded_weights import warn_of_other_weights
from landscope.memory.between_tasks.state import MemoryState, memory_settings
from landscope.memory.holds_tasks import HoldsTasks
from landscope.memory.methods.rows import TaskRows
from landscope.memory.pickled import check_pickles
from landscope.memory.warnings import warn_of_fewer_tasks
from landscope.parameters import ParameterSpace, Selection

__all__ = ["SavedMemory"]


class SavedMemory(HoldsTasks):
    """A memory with a state."""

    n_held: int
    follow_outputs: bool
    every: int
    _select: Selection | Iterable[Selection] | None
    _rows: TaskRows

    def state_dict(self) -> dict[str, Any]:
        """The state for ``torch.save``: everything needed to continue after a restart, also in the middle of a task."""
        self._tasks.see(self.model)
        rows = self._rows
        budget = None if self._tasks.budget is None else self._tasks.budget.state()
        outputs = None if self._tasks.outputs is None else self._tasks.outputs.state()
        replayed = None if self._tasks.replayed is None else self._tasks.replayed.state()
        return MemoryState(
            self.tasks, self.n_held, rows.step, rows.latest(), self.held, self.strength, tuple(self._tasks.losses),
            budget, outputs, replayed, self._tasks.history.state(), self._tasks.fingerprint,
        ).mapping(self._settings())  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state made by :meth:`state_dict`.

        A budget of this memory that the state has not begins where the last task ended. A state has no samples of a
        budget, so make the memory as before: ``ls.keep`` at the weights that it keeps, then load weights and state.

        Args:
            state: The mapping, possibly read by ``torch.load``.

        Raises:
            InputError: If the memory is in a training.
            StorageError: If the state is damaged, or of a memory of other weights, method or settings, or frozen
                weights have other values, as after an adapter was merged; the memory is then left unchanged. The
                strength may differ: the tasks are then held at that of this memory.

        Warns:
            UserWarning: If the model has other weights than when the state was saved, as it has where its weights were
                not loaded before; if the memory has consolidated more tasks than the state, or has a budget with
                samples, which a state does not have; if the model has parameters of other names or shapes than the
                state: what both share is held, the rest is named.
            LandscopeWarning: If the samples of a budget give other losses at the end of the last task than before.
        """
        self._check_outside("load the state")
        stored = stored_space(state, self.space, self.model)
        loaded = MemoryState.read(state, self._settings(stored), stored)
        check_base(loaded.fingerprint, self.model, StorageError)
        warn_of_fewer_tasks(loaded.n_tasks, self.n_tasks)
        if stored != self.space:
            change = ChangedModel(stored, self.space, self.model, loaded.fingerprint)
            had_rows, loaded = loaded.rows is not None, change.state(loaded)
            change.warn(holds=self.strength > 0, rows=had_rows)
        warn_of_other_weights(loaded.fingerprint, loaded.held, stored, self.space, self.model, pulls=self.strength > 0)
        self._tasks.load(loaded, self.model)
        if stored != self.space:  # from now on, parameters are recognised in the shapes that they have now
            self._tasks.see(self.model)
        self.n_held = loaded.n_held
        self._rows.load(loaded.rows, loaded.step)

    def __reduce_ex__(self, protocol: Any) -> Any:
        check_pickles(self)
        return super().__reduce_ex__(protocol)

    def follow_model(self) -> None:
        """Take the parameters that the model has now, where some changed name or shape; :meth:`training` calls it."""
        check_base(self._tasks.fingerprint, self.model)
        if not changed_names(self.space, self.model) or isinstance(self._select, ParameterSpace):
            self._tasks.follow_base(self.model)
            return
        space = ParameterSpace.of(self.model, self._select)
        self.method.check(self.model, space)
        self._tasks.follow(space, self.model, rows=self._rows.latest() is not None)
        self.space, step = space, self._rows.step
        self._rows = TaskRows(space, self._rows.window, self.every)
        self._rows.load(None, step)

    def _settings(self, space: ParameterSpace | None = None) -> dict[str, Any]:
        names = ("n_modes", "window", "every", "ratio", "rank", "per_layer", "follow_outputs")
        numbers = {name: getattr(self, name) for name in names}
        replay = None if self.replay is None else self.replay.settings()
        return memory_settings(self.method.settings(), space or self.space, {"replay": replay, **numbers})
