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

from landscope.memory.evaluations import Evaluations, evaluated_copy
from landscope.memory.task_matrix import TaskMatrix
from landscope.results import stamp
from landscope.storage.digests import digest_of

__all__ = ["TaskHistory"]


class TaskHistory:
    """The end of the last task, and for each task its time, the numbers stored, and what was measured after it."""

    def __init__(self) -> None:
        self._end: dict[str, Tensor] | None = None
        self._digest = ""
        self._seconds: list[float] = []
        self._n_stored: list[int] = []
        self._since_end = 0.0
        self._began: float | None = None
        self._measured: dict[str, dict[int, dict[str, float]]] = {}
        """Value by the kind of the evaluation, the row, and the name of the task."""

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
        self._digest = digest_of(self._end)
        self._seconds.append(self._spent())
        self._n_stored.append(n_stored)
        self._since_end, self._began = 0.0, None

    def is_at_end(self, model: nn.Module) -> bool:
        """Whether a model is as it was at the end of the last task."""
        return digest_of(_changeable(model)) == self._digest

    def end_of(self, model: nn.Module) -> nn.Module | None:
        """A copy of the model as it was at the end of the last task; None where that is not known."""
        if self._end is None:
            return None
        whole = evaluated_copy(model)
        with contextlib.suppress(RuntimeError):  # a layer has another shape now
            whole.load_state_dict(self._end, strict=False)
            return whole
        return None

    def note(self, found: Evaluations, row: int, values: Float[Tensor, " tasks"]) -> None:
        """Note what was measured after a task; what was measured of other tasks or in another way stays."""
        rows = self._measured.setdefault(found.kind, {})
        rows[row] = rows.get(row, {}) | dict(zip(found.names, values.tolist(), strict=True))

    def has(self, found: Evaluations, row: int) -> bool:
        """Whether all of these evaluations were measured in a row."""
        return set(found.names) <= self._row(found, row).keys()

    def _row(self, found: Evaluations, row: int) -> dict[str, float]:
        return self._measured.get(found.kind, {}).get(row, {})

    def matrix(self, found: Evaluations, n_rows: int, n_stored: int, dim: int) -> TaskMatrix:
        """The rows up to now, after so many tasks, the last of which may go on; NaN where nothing was measured."""
        values = [[self._row(found, row).get(name, math.nan) for name in found.names] for row in range(n_rows)]
        seconds = [*self._seconds, self._spent()][:n_rows]
        return TaskMatrix(
            tasks=found.names,
            values=torch.tensor(values, dtype=torch.float64),
            higher_is_better=found.higher_is_better,
            seconds=torch.tensor(seconds, dtype=torch.float64),
            n_stored=torch.tensor([*self._n_stored, n_stored][:n_rows], dtype=torch.int64),
            dim=dim,
            provenance=stamp(),
        )

    def state(self) -> dict[str, Any]:
        """All numbers, for a checkpoint; without the weights at the end of the last task."""
        return {
            "seconds": [*self._seconds, self._spent()],
            "n_stored": list(self._n_stored),
            "end": self._digest,
            "measured": {
                kind: {str(row): dict(cells) for row, cells in rows.items()} for kind, rows in self._measured.items()
            },
        }

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> TaskHistory:
        """The history of a stored state."""
        history = cls()
        history._digest = str(state["end"])
        *history._seconds, history._since_end = map(float, state["seconds"])
        history._n_stored = list(map(int, state["n_stored"]))
        history._measured = {
            str(kind): {
                int(row): {str(name): float(value) for name, value in cells.items()} for row, cells in rows.items()
            }
            for kind, rows in state["measured"].items()
        }
        return history


def _changeable(model: nn.Module) -> dict[str, Tensor]:
    """Everything of a model that a training can change, in main memory."""
    frozen = {id(parameter) for parameter in model.parameters() if not parameter.requires_grad}
    return {
        name: value.detach().to("cpu", copy=True)
        for name, value in model.state_dict(keep_vars=True).items()
        if isinstance(value, Tensor) and id(value) not in frozen
    }
