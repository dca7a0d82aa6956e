"""The state of a task memory, as a plain mapping for a user's own checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from landscope._checks import check_strength
from landscope.errors import InputError, StorageError
from landscope.memory.between_tasks.fingerprint import Fingerprint
from landscope.parameters import ParameterSpace
from landscope.penalties.blocks import load_penalty
from landscope.protocols import Penalty
from landscope.storage.digests import digest_of
from landscope.trajectory import Trajectory

__all__ = ["MemoryState", "memory_settings"]

_FORMAT = 8
_HINT = "Pass what memory.state_dict() returned."
_COLUMNS = ("weights", "steps", "learning_rate", "loss")


def memory_settings(method: Mapping[str, Any], space: ParameterSpace, numbers: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a state must share with the memory that loads it."""
    shapes = [list(shape) for shape in space.shapes]
    return {"method": dict(method), **numbers, "parameters": list(space.names), "shapes": shapes}


@dataclasses.dataclass(frozen=True)
class MemoryState:
    """Everything that a memory needs to continue after a restart.

    Args:
        names: Names of the consolidated tasks.
        n_held: Number of directions that the last of them holds.
        step: Number of the last recorded step.
        rows: The latest weights of the current task.
        held: Penalty V of all tasks; None before the first.
        strength: Strength lambda at which they are held.
        losses: Loss of each task at its end.
        budget: Numbers of the budget, if there is one.
        outputs: Numbers of the strength that follows the outputs, if it does.
        replayed: The samples that are learnt again, if there are any.
        history: What was measured of the tasks, and their costs.
        fingerprint: What the model was at the end of the last task.
    """

    names: tuple[str, ...]
    n_held: int
    step: int
    rows: Trajectory | None
    held: Penalty | None
    strength: float = 1.0
    losses: tuple[float, ...] = ()
    budget: Mapping[str, Any] | None = None
    outputs: Mapping[str, Any] | None = None
    replayed: Mapping[str, Any] | None = None
    history: Mapping[str, Any] | None = None
    fingerprint: Fingerprint = dataclasses.field(default_factory=Fingerprint)

    @property
    def n_tasks(self) -> int:
        """Number of consolidated tasks."""
        return len(self.names)

    def mapping(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The state and the settings of the memory, for ``torch.save``."""
        content = {
            "format": _FORMAT,
            "settings": dict(settings),
            "names": list(self.names),
            "n_held": self.n_held,
            "step": self.step,
            "rows": None if self.rows is None else {name: getattr(self.rows, name) for name in _COLUMNS},
            "penalty": None if self.held is None else self.held.state_dict(),
            "strength": self.strength,
            "losses": list(self.losses),
            "budget": None if self.budget is None else dict(self.budget),
            "outputs": None if self.outputs is None else dict(self.outputs),
            "replayed": None if self.replayed is None else dict(self.replayed),
            "history": None if self.history is None else dict(self.history),
            "fingerprint": self.fingerprint.state(),
        }
        return {**content, "digest": digest_of(content)}

    @classmethod
    def read(cls, state: Mapping[str, Any], settings: Mapping[str, Any], space: ParameterSpace) -> MemoryState:
        """Read a mapping made by :meth:`mapping`.

        Raises:
            StorageError: If the mapping is of another kind, damaged, or belongs to other weights or settings.
        """
        if not isinstance(state, Mapping) or state.get("format") != _FORMAT or "settings" not in state:
            raise StorageError(
                expected=f"the state of a TaskMemory, of format {_FORMAT}", got=_described(state), hint=_HINT
            )
        _check_settings(settings, state["settings"])
        content = {name: value for name, value in state.items() if name != "digest"}
        if state.get("digest") != digest_of(content):
            raise StorageError(
                expected="the state of a TaskMemory as it was made",
                got="a state that was changed since, or is incomplete",
                hint=f"{_HINT} Tensors may be on another device, but must have the same values and types.",
            )
        try:
            rows, penalty = state["rows"], state["penalty"]
            loaded = cls(
                _names(state["names"]),
                *(_count(state[name]) for name in ("n_held", "step")),
                rows=None if rows is None else Trajectory.of(**{k: rows[k] for k in _COLUMNS}, space=space),
                held=None if penalty is None else load_penalty(penalty),
                strength=check_strength("strength", state["strength"]),
                losses=tuple(map(float, state["losses"])),
                budget=state["budget"],
                outputs=state["outputs"],
                replayed=state["replayed"],
                history=state["history"],
                fingerprint=Fingerprint(**state["fingerprint"]),
            )
            loaded._check(space)
        except (AttributeError, InputError, KeyError, TypeError, ValueError) as error:
            raise StorageError(
                expected="the state of a TaskMemory", got=f"a damaged state ({type(error).__name__}: {error})",
                hint=_HINT,
            ) from error  # fmt: skip
        return loaded

    def _check(self, space: ParameterSpace) -> None:
        """Raise where the fields contradict each other: a memory without its penalty would hold nothing."""
        if self.held is not None and self.held.dim != space.dim:
            raise ValueError(f"a penalty on {self.held.dim} weights, not {space.dim}")
        if (
            min(self.n_held, self.step) < 0
            or len(self.losses) != self.n_tasks
            or (self.n_tasks > 0) != (self.held is not None)
        ):
            held = "no penalty" if self.held is None else "a penalty"
            raise ValueError(
                f"{self.n_tasks} tasks, {len(self.losses)} losses, {self.n_held} directions, step {self.step}, {held}"
            )
        if self.rows is not None and not bool(torch.isfinite(self.rows.weights).all()):
            raise ValueError("weights that are NaN or infinite")


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value) or len(set(value)) != len(value):
        raise TypeError(f"{value!r} in place of names of tasks")
    return tuple(value)


def _count(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} in place of a count")
    return value


def _check_settings(ours: Mapping[str, Any], theirs: Any) -> None:
    stored = theirs if isinstance(theirs, Mapping) else {}
    if different := [name for name in ours if stored.get(name) != ours[name]]:
        raise StorageError(
            expected="; ".join(f"{name} {ours[name]}" for name in different),
            got="; ".join(f"{name} {stored.get(name)}" for name in different),
            hint="Make the memory for the same model with the same settings.",
        )


def _described(state: object) -> str:
    if not isinstance(state, Mapping):
        return type(state).__name__
    return f"the keys {', '.join(map(str, state))}" + (f" of format {state['format']}" if "format" in state else "")
