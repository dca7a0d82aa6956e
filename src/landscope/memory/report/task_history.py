"""What a memory notes of its tasks for a report: the model at the end of the last one, the cost, and measured rows."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Generator, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from landscope.memory.report.evaluations import Evaluations, evaluated_copy
from landscope.memory.report.task_matrix import TaskMatrix
from landscope.parameters import inner_model, plain_name
from landscope.results import stamp
from landscope.sharded import reshard, whole
from landscope.storage.digests import digest_of

__all__ = ["TaskHistory"]


class TaskHistory:
    """The end of each task, its time, the numbers stored, and what was measured of the model at which state.

    A state of the model stands under its digest. Tasks that end at the same state share what was measured there, and
    what was measured in the middle of a task is not taken for its end.
    """

    def __init__(self) -> None:
        self._end: dict[str, Tensor] | None = None
        self._ends: list[str] = []
        """State of the model at the end of each task."""
        self._seconds: list[float] = []
        self._n_stored: list[int] = []
        self._since_end = 0.0
        self._began: float | None = None
        self._measured: dict[str, dict[str, dict[str, float]]] = {}
        """Value by the kind of the evaluation, the state of the model, and the name of the task."""

    @contextlib.contextmanager
    def timed(self) -> Generator[None]:
        """Count the time of the context for the task that is learnt."""
        self._began = time.perf_counter()
        try:
            yield
        finally:
            self._since_end, self._began = self._spent(), None

    def _spent(self) -> float:
        return self._since_end + (0.0 if self._began is None else time.perf_counter() - self._began)

    def end_task(self, model: nn.Module, n_stored: int) -> None:
        """Note the end of a task."""
        self._end = _changeable(model)
        self._ends.append(digest_of(self._end))
        self._seconds.append(self._spent())
        self._n_stored.append(n_stored)
        self._since_end, self._began = 0.0, None
        self._measured = {
            kind: {state: cells for state, cells in states.items() if state in self._ends}
            for kind, states in self._measured.items()
        }

    @property
    def last_end(self) -> str:
        """State of the model at the end of the last task; "" before."""
        return self._ends[-1] if self._ends else ""

    @staticmethod
    def state_of(model: nn.Module) -> str:
        """The state of a model, however it is wrapped."""
        return digest_of(_changeable(model))

    def is_at_end(self, model: nn.Module) -> bool:
        """Whether a model is as it was at the end of the last task."""
        return self.state_of(model) == self.last_end

    def end_of(self, model: nn.Module) -> nn.Module | None:
        """A copy of the model as it was at the end of the last task; None where that is not known."""
        if self._end is None:
            return None
        whole = evaluated_copy(model)
        names = {plain_name(name): name for name in whole.state_dict()}
        if not _changeable(whole).keys() <= self._end.keys() <= names.keys():
            return None  # another head, or weights that were frozen at that time, whose values nobody noted
        with contextlib.suppress(RuntimeError):  # a layer has another shape now
            whole.load_state_dict({names[name]: value for name, value in self._end.items()}, strict=False)
            return whole
        return None

    def note(self, found: Evaluations, state: str, values: Float[Tensor, " tasks"]) -> None:
        """Note what was measured at a state; what was measured of other tasks or in another way stays."""
        states = self._measured.setdefault(found.kind, {})
        states[state] = states.get(state, {}) | dict(zip(found.names, values.tolist(), strict=True))

    def has(self, found: Evaluations, state: str) -> bool:
        """Whether all of these evaluations were measured at a state."""
        return set(found.names) <= self._at(found, state).keys()

    def _at(self, found: Evaluations, state: str) -> dict[str, float]:
        return self._measured.get(found.kind, {}).get(state, {})

    def matrix(self, found: Evaluations, now: str, n_stored: int, dim: int) -> TaskMatrix:
        """The rows up to now: the end of each task and, where it goes on, the present state; NaN: not measured."""
        states = self._ends if now == self.last_end else [*self._ends, now]
        values = [[self._at(found, state).get(name, math.nan) for name in found.names] for state in states]
        seconds = [*self._seconds, self._spent()][: len(states)]
        return TaskMatrix(
            tasks=found.names,
            values=torch.tensor(values, dtype=torch.float64),
            higher_is_better=found.higher_is_better,
            seconds=torch.tensor(seconds, dtype=torch.float64),
            n_stored=torch.tensor([*self._n_stored, n_stored][: len(states)], dtype=torch.int64),
            dim=dim,
            provenance=stamp(),
        )

    def state(self) -> dict[str, Any]:
        """All numbers, for a checkpoint; without the weights at the end of the last task."""
        return {
            "seconds": [*self._seconds, self._spent()],
            "n_stored": list(self._n_stored),
            "ends": list(self._ends),
            "measured": {
                kind: {state: dict(cells) for state, cells in states.items()} for kind, states in self._measured.items()
            },
        }

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> TaskHistory:
        """The history of a stored state."""
        history = cls()
        history._ends = list(map(str, state["ends"]))
        *history._seconds, history._since_end = map(float, state["seconds"])
        history._n_stored = list(map(int, state["n_stored"]))
        history._measured = {
            str(kind): {
                str(at): {str(name): float(value) for name, value in cells.items()} for at, cells in states.items()
            }
            for kind, states in state["measured"].items()
        }
        return history


def _changeable(model: nn.Module) -> dict[str, Tensor]:
    """Everything of a model that a training can change, in main memory, under its names without any wrapper."""
    inner = inner_model(model)
    reshard(inner)
    frozen = {id(parameter) for parameter in inner.parameters() if not parameter.requires_grad}
    return {
        plain_name(name): whole(value.detach()).to("cpu", copy=True)
        for name, value in inner.state_dict(keep_vars=True).items()
        if isinstance(value, Tensor) and id(value) not in frozen
    }
