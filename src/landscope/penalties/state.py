"""Penalties that store their own tensors, and their plain mappings for a user's own checkpoints."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_vector
from landscope.errors import StorageError
from landscope.penalties.questions import Asking
from landscope.results import Result, result_kinds
from landscope.storage.fields import check_fields

__all__ = ["StoredPenalty", "check_keys", "penalty_from"]

_Stored = TypeVar("_Stored", bound="StoredPenalty")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class StoredPenalty(Result, abc.ABC, kind="stored_penalty"):
    """A quadratic penalty about an anchor, with a factor lambda.

    Args:
        anchor: Weights at the end of the task.
        strength: Factor lambda.
        stiffness_source: What the stiffness was computed from, in words.
    """

    anchor: Tensor
    strength: float = 1.0
    stiffness_source: str = ""

    @abc.abstractmethod
    def hessian_vector_product(self, w: Float[Tensor, "*points N"], vector: Tensor) -> Float[Tensor, "*points N"]:
        """The Hessian, the same everywhere, times a vector."""

    def gradient(self, w: Float[Tensor, "*points N"]) -> Float[Tensor, "*points N"]:
        """The gradient: the Hessian times the distance from the anchor."""
        return self._gradient(self._checked(w))

    def _gradient(self, w: Tensor) -> Tensor:
        return self.hessian_vector_product(w, self._from_anchor(w))

    @property
    def dim(self) -> int:
        """Length N of w."""
        return self.anchor.numel()

    @property
    def n_stored(self) -> int:
        """Number of stored values."""
        return sum(tensor.numel() for tensor in self.tensors().values())

    def state_dict(self) -> dict[str, Any]:
        """The fields, for ``torch.save``; :func:`landscope.penalties.load_penalty` rebuilds the penalty."""
        values = {name: getattr(self, name) for name in _field_names(type(self))}
        return {"kind": self.kind, **{k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}}

    def with_strength(self: _Stored, strength: float) -> _Stored:
        """The same penalty with another lambda."""
        return dataclasses.replace(self, strength=strength)

    def to(self: _Stored, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> _Stored:
        """The same penalty on another device or in another dtype."""
        moved = {name: tensor.to(device=device, dtype=dtype) for name, tensor in self.tensors().items()}
        return dataclasses.replace(self, **moved)

    @abc.abstractmethod
    def _value(self, w: Tensor) -> Tensor:
        """The penalty V at finite weights."""

    @abc.abstractmethod
    def _asking_step(self, w: Tensor, step_size: float | Tensor, start: Tensor | None) -> Asking[Tensor]:
        """The implicit step from finite weights."""

    def _checked(self, w: Tensor) -> Tensor:
        """Finite weights on the device of the anchor."""
        return check_vector("w", w, dim=self.dim, device=self.anchor.device)

    def _from_anchor(self, w: Tensor) -> Tensor:
        """The distance of finite weights."""
        w = check_vector("w", w, dim=self.dim, device=self.anchor.device, is_finite=True)
        return w - self.anchor.flatten()


def _field_names(kind: type[Result]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind) if field.name != "provenance"]


def penalty_from(state: Mapping[str, Any]) -> Any:
    """Rebuild a penalty from its ``state_dict()``.

    Raises:
        StorageError: If the mapping is not the state of a penalty, or is of another version of landscope.
    """
    values = dict(state)
    kind = result_kinds().get(str(values.pop("kind", "")))
    if kind is None or not issubclass(kind, StoredPenalty):
        raise StorageError(
            expected="the state of a penalty", got=f"the keys {', '.join(map(str, state))}",
            hint="Pass what penalty.state_dict() returned.",
        )  # fmt: skip
    check_keys(values, _field_names(kind))
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    check_fields("the state of a penalty", kind, fields)
    return kind(**fields)


def check_keys(state: Mapping[str, Any], wanted: Iterable[str]) -> None:
    """Raise unless the state of a penalty has exactly the expected keys."""
    keys = state.keys() - {"kind"}
    if keys != set(wanted):
        raise StorageError(
            expected=f"the state of a penalty with {', '.join(sorted(wanted))}",
            got=f"{', '.join(sorted(map(str, keys))) or 'none of them'}",
            hint="The state is damaged, or was made by another version of landscope.",
        )
