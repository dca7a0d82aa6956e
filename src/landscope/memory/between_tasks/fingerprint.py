"""A few values of every parameter of a model, by which it is recognised."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from landscope.parameters import ParameterSpace, named_tensors
from landscope.sharded import whole
from landscope.storage.digests import digest_of

__all__ = ["Fingerprint"]

_MOST_VALUES = 64
_DIGITS = 16
_NEW, _SAME = 0.5, 0.01
"""Distance over length above which values are new ones, and below which they are those before, up to rounding."""


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """What a model was when its tasks were kept.

    Args:
        selected: Some values of each selected parameter, evenly spread over it, when it was last seen.
        frozen: Digest of such values of each parameter that is frozen and not selected.
        shapes: Shapes of these, where they are known.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
        >>> _ = model[0].requires_grad_(False)
        >>> space = ParameterSpace.of(model)
        >>> found = Fingerprint.of(model, space, space.flatten(model))
        >>> _ = model[0].weight.add_(1.0)
        >>> found.changed_base(model), found.frozen.keys()
        (['0.weight'], dict_keys(['0.weight', '0.bias']))
    """

    selected: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)
    frozen: Mapping[str, str] = dataclasses.field(default_factory=dict)
    shapes: Mapping[str, Sequence[int]] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, model: nn.Module, space: ParameterSpace, w: Float[Tensor, " N"]) -> Fingerprint:
        """The fingerprint of a model with the selected weights w."""
        frozen = _frozen(model, space.names)
        shapes = {name: list(tensor.shape) for name, tensor in frozen.items()}
        return cls(cls.some_of(space, w), {name: _digest(frozen[name], shapes[name]) for name in frozen}, shapes)

    @staticmethod
    def some_of(space: ParameterSpace, w: Float[Tensor, " N"]) -> dict[str, Tensor]:
        """Some values of each selected parameter, always at the same places of one shape."""
        return {name: _some(value, value.shape).cpu() for name, value in space.unflatten(w.detach()).items()}

    def seen(self, space: ParameterSpace, w: Float[Tensor, " N"]) -> Fingerprint:
        """The same with the selected weights as they are now, where there are any."""
        return dataclasses.replace(self, selected=self.some_of(space, w)) if self.selected else self

    def changed_base(self, model: nn.Module) -> list[str]:
        """Parameters that were frozen and still are, and have other values now; those of a larger one may follow."""
        now = _frozen(model, tuple(self.selected)) if self.frozen else {}
        return [
            name
            for name, digest in self.frozen.items()
            if name in now and _digest(now[name], self.shapes.get(name, now[name].shape)) != digest
        ]

    def resized_base(self, model: nn.Module) -> list[str]:
        """Parameters that were frozen and have another shape now, as the embeddings of more words beside adapters."""
        now = named_tensors(model) if self.shapes else {}
        return [name for name, shape in self.shapes.items() if name in now and list(now[name].shape) != list(shape)]

    def with_base_of(self, model: nn.Module) -> Fingerprint:
        """The same with those of another shape as they are now."""
        now, resized = named_tensors(model), self.resized_base(model)
        frozen = {name: _digest(whole(now[name].detach()), now[name].shape) for name in resized}
        shapes = {name: list(now[name].shape) for name in resized}
        return dataclasses.replace(self, frozen={**self.frozen, **frozen}, shapes={**self.shapes, **shapes})

    def replaced(self, old: ParameterSpace, new: ParameterSpace, model: nn.Module) -> list[str]:
        """Parameters of another shape that do not begin with their old values: other layers of the same name."""
        before, now = (dict(zip(space.names, space.shapes, strict=True)) for space in (old, new))
        tensors = named_tensors(model)
        return [
            name
            for name in old.names
            if name in now and now[name] != before[name] and not self._begins(name, before[name], tensors[name])
        ]

    def with_new_values(self, tensors: Mapping[str, Tensor]) -> list[str]:
        """Parameters whose values have nothing to do with the earlier ones, where some others are as they were.

        Where all have other values, another model was loaded. A parameter that was zero is not asked.
        """
        moved = {
            name: float((_some(whole(tensor.detach()), tensor.shape).cpu() - then).norm() / then.norm())
            for name, tensor in tensors.items()
            if not tensor.is_meta and (then := self.selected.get(name)) is not None and then.any()
            if then.shape == _places(tensor.shape).shape
        }
        new = [name for name, share in moved.items() if share > _NEW]
        return new if any(share < _SAME for share in moved.values()) else []

    def _begins(self, name: str, shape: tuple[int, ...], tensor: Tensor) -> bool:
        """Whether the shared part of a parameter has the values that it had."""
        if name not in self.selected or len(shape) != tensor.ndim:
            return False
        where = _coordinates(shape)
        inside = (where < torch.tensor(tensor.shape)).all(dim=1)
        values = whole(tensor.detach()).cpu()[tuple(where[inside].T)]
        return bool(inside.any()) and torch.equal(values, self.selected[name][inside].to(values))

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"selected": dict(self.selected), "frozen": dict(self.frozen), "shapes": dict(self.shapes)}


def _frozen(model: nn.Module, selected: tuple[str, ...]) -> dict[str, Tensor]:
    return {
        name: whole(tensor.detach())
        for name, tensor in named_tensors(model).items()
        if not tensor.requires_grad and name not in selected and not tensor.is_meta and not nn.parameter.is_lazy(tensor)
    }


def _digest(tensor: Tensor, shape: Sequence[int]) -> str:
    """The digest of some values at the places of an earlier shape; of none where a tensor does not have them all."""
    if tuple(tensor.shape) == tuple(shape):
        values = _some(tensor, tensor.shape)
    elif tensor.ndim == len(shape) and all(map(operator.ge, tensor.shape, shape)):
        values = _in_full(tensor[tuple(_coordinates(tuple(shape)).T.to(tensor.device))])
    else:
        values = torch.zeros(0)
    return digest_of(values)[:_DIGITS]


def _coordinates(shape: tuple[int, ...]) -> Tensor:
    return torch.stack(torch.unravel_index(_places(shape), shape), dim=1)


def _some(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    return _in_full(tensor.reshape(-1)[_places(shape).to(tensor.device)])


def _in_full(values: Tensor) -> Tensor:
    return values.float() if values.is_floating_point() and values.dtype != torch.float64 else values


def _places(shape: tuple[int, ...]) -> Tensor:
    """Positions of some values of a parameter, evenly spread, without rounding."""
    size = torch.Size(shape).numel()
    count = min(size, _MOST_VALUES)
    return torch.arange(count) * max(size - 1, 0) // max(count - 1, 1)
