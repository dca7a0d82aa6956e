"""The part of a memory that goes into checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from landscope.memory.holds_tasks import HoldsTasks
from landscope.memory.methods import Method
from landscope.memory.replay import Replay
from landscope.memory.rows import TaskRows
from landscope.memory.state import MemoryState
from landscope.memory.warnings import warn_of_fewer_tasks
from landscope.parameters import ParameterSpace

__all__ = ["SavedMemory"]


class SavedMemory(HoldsTasks):
    """A memory with a state."""

    space: ParameterSpace
    method: Method
    replay: Replay | None
    n_held: int
    follow_outputs: bool
    _rows: TaskRows

    def state_dict(self) -> dict[str, Any]:
        """The state for ``torch.save``: everything needed to continue after a restart, also in the middle of a task."""
        rows = self._rows
        budget = None if self._tasks.budget is None else self._tasks.budget.state()
        outputs = None if self._tasks.outputs is None else self._tasks.outputs.state()
        replayed = None if self._tasks.replayed is None else self._tasks.replayed.state()
        return MemoryState(
            self.n_tasks, self.n_held, rows.step, rows.latest(), self.held, self.strength, tuple(self._tasks.losses),
            budget, outputs, replayed, self._tasks.history.state(),
        ).mapping(self._settings())  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state made by :meth:`state_dict`.

        Args:
            state: The mapping, possibly read by ``torch.load``.

        Raises:
            InputError: If the memory is in a training.
            StorageError: If the state is damaged, or of a memory of other weights, method or settings; the memory is
                then left unchanged. The strength may differ: the tasks are then held at that of this memory.
                A budget of this memory that the state has not begins at the weights of the model, so load these first.

        Warns:
            UserWarning: If the memory has consolidated more tasks than the state, or has a budget with samples, which a
                state does not have.
        """
        self._check_outside("load the state")
        loaded = MemoryState.read(state, self._settings(), self.space)
        warn_of_fewer_tasks(loaded.n_tasks, self.n_tasks)
        self._tasks.load(loaded, self.model)
        self.n_held = loaded.n_held
        self._rows.load(loaded.rows, loaded.step)

    def _settings(self) -> dict[str, Any]:
        names = ("n_modes", "window", "every", "ratio", "rank", "per_layer", "follow_outputs")
        return {
            "method": self.method.settings(),
            "replay": None if self.replay is None else self.replay.settings(),
            **{name: getattr(self, name) for name in names},
            "parameters": list(self.space.names),
            "shapes": [list(shape) for shape in self.space.shapes],
        }
