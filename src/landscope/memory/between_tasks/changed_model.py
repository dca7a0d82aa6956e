"""A model whose parameters changed between tasks: more words, another head, a merged adapter."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from landscope.errors import InputError, StorageError
from landscope.memory.between_tasks.fingerprint import Fingerprint
from landscope.memory.between_tasks.state import MemoryState
from landscope.parameters import ParameterSpace, named_tensors
from landscope.penalties.compression.carried import carried_penalty, shared_positions
from landscope.penalties.warnings import listed, warn
from landscope.protocols import Penalty

__all__ = ["ChangedModel", "changed_names", "check_base", "stored_space"]


def changed_names(space: ParameterSpace, model: nn.Module) -> list[str]:
    """Parameters of a space that a model no longer has, or has in another shape."""
    now = {name: tuple(tensor.shape) for name, tensor in named_tensors(model).items()}
    return [name for name, shape in zip(space.names, space.shapes, strict=True) if now.get(name) != shape]


def check_base(print_: Fingerprint, model: nn.Module, error: type[InputError | StorageError] = InputError) -> None:
    """Raise where frozen weights have other values than when the tasks were kept: adapters then mean another model."""
    if changed := print_.changed_base(model):
        raise error(
            expected="the frozen weights with which the tasks were kept", got=f"other values of {listed(changed)}",
            hint="If an adapter was merged into them, or they have another precision, the held weights are those of "
            "another model: go back to the old ones, or keep the present model by a new memory, ls.keep(...).",
        )  # fmt: skip


def stored_space(state: Any, ours: ParameterSpace, model: nn.Module) -> ParameterSpace:
    """The parameters of a stored state where the model changed since; otherwise those of the memory."""
    settings = state.get("settings") if isinstance(state, Mapping) else None
    names, shapes = ((settings or {}).get(key) for key in ("parameters", "shapes"))
    if not isinstance(names, list) or not isinstance(shapes, list) or len(names) != len(shapes):
        return ours
    stored = ParameterSpace(tuple(map(str, names)), tuple(tuple(map(int, shape)) for shape in shapes))
    return stored if changed_names(stored, model) and set(stored.names) & set(ours.names) else ours


@dataclasses.dataclass(frozen=True)
class ChangedModel:
    """The way from the old parameters of a model to its present ones.

    Args:
        old: Parameters when the tasks were kept.
        new: Parameters now.
        model: The model.
        print_: What it was when the tasks were kept.
    """

    old: ParameterSpace
    new: ParameterSpace
    model: nn.Module
    print_: Fingerprint

    def penalty(self, penalty: Penalty | None) -> Penalty | None:
        """The penalty on the present parameters.

        Raises:
            InputError: If no weight is shared.
        """
        if penalty is None:
            return None
        carried = carried_penalty(penalty, self.old, self.new, self._w, self._replaced)
        if carried is None:
            raise InputError(
                expected=f"a model with some of the weights {listed(self.old.names)}", got="a model without any",
                hint="Use the model of the earlier tasks, or make a new memory. Where adapters were added since, as by "
                "peft.get_peft_model, the weights that are held are frozen: add the adapters first, then call ls.keep.",
            )  # fmt: skip
        return carried

    def weights(self, w: Float[Tensor, " N_old"]) -> Float[Tensor, " N_new"]:
        """Old weights with the new parameters as they are now."""
        positions = shared_positions(self.old, self.new, self._replaced)
        found = self._w.clone()
        found[positions[positions >= 0]] = w[(positions >= 0).to(w.device)].to(found)
        return found

    @property
    def lost(self) -> list[str]:
        """Names of the parameters that no longer have all that they had; without any, earlier data fit the model."""
        before, now = (dict(zip(space.names, space.shapes, strict=True)) for space in (self.old, self.new))
        fresh = self._replaced
        return [name for name, shape in before.items() if name in fresh or not _contains(now.get(name, ()), shape)]

    def state(self, state: MemoryState) -> MemoryState:
        """A stored state on the present parameters, without the recorded rows of a task that had not ended."""
        try:
            held = self.penalty(state.held)
        except InputError as error:
            raise StorageError(expected=error.expected, got=error.got, hint=error.hint) from error
        budget = None if state.budget is None else dict(state.budget)
        if budget is not None and budget["w1"] is not None:
            budget["w1"] = self.weights(budget["w1"])
        replayed = state.replayed
        if isinstance(replayed, Mapping) and self.lost:  # nothing to measure on
            replayed = {**replayed, "held_out": None, "counts": []}
        return dataclasses.replace(state, held=held, rows=None, budget=budget, replayed=replayed)

    def warn(self, *, holds: bool = True, rows: bool = False, samples: str = "") -> None:
        """Say what is held and what is not.

        Args:
            holds: Whether weights are held at all; replay alone holds none.
            rows: Whether recorded rows are left out.
            samples: Why the samples of a budget are, and what follows.
        """
        said = [f"{what}: {listed(names)}" for what, names in self._named().items() if names and holds]
        if rows:
            said.append("left out: the rows recorded for the current task")
        if samples:
            said.append(
                f"left out: the samples of the budget, as {samples}; pass memory.budget(..., samples=f) "
                "with f(model), the mean loss on samples of earlier tasks, to measure it"
            )
        if said:
            warn("the parameters of the model changed since its tasks were kept; " + "; ".join(said))

    def _named(self) -> dict[str, list[str]]:
        """Names of the parameters that changed, by what becomes of them."""
        before, now = (dict(zip(space.names, space.shapes, strict=True)) for space in (self.old, self.new))
        resized = [name for name, shape in before.items() if now.get(name, shape) != shape]
        return {
            "held in the part that both shapes have": [name for name in resized if name not in self._replaced],
            "no longer held, as shape and values are others": [name for name in resized if name in self._replaced],
            "no longer held, as they are gone or not selected": [name for name in before if name not in now],
            "new, so not held by earlier tasks": [name for name in now if name not in before],
        }

    @property
    def _w(self) -> Tensor:
        return self.new.flatten(self.model)

    @property
    def _replaced(self) -> list[str]:
        return self.print_.replaced(self.old, self.new, self.model)


def _contains(shape: tuple[int, ...], part: tuple[int, ...]) -> bool:
    return len(shape) == len(part) and all(size >= least for size, least in zip(shape, part, strict=True))
