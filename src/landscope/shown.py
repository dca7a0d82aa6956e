"""How objects show themselves: what they are, and their fields line by line in a few words."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable
from types import FunctionType

import torch
from torch import Tensor

__all__ = ["ShownByField", "counted", "in_lines", "name_of", "shown"]

_MOST_SHOWN = 6
_UNKNOWN = "not known"


class ShownByField:
    """Base of dataclasses with ``repr=False`` whose fields may be large: they are shown as those of a result are."""

    def __repr__(self) -> str:
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.repr}  # ty: ignore[invalid-argument-type] - a subclass is a dataclass
        return in_lines(type(self).__name__, **fields)


def name_of(thing: object) -> str:
    """The name of a function or a class, and the class of anything else.

    Example:
        >>> name_of(len), name_of(torch.nn.MSELoss()), name_of(lambda x: x)
        ('len', 'MSELoss', 'a lambda')
    """
    name = getattr(thing, "__name__", type(thing).__name__)
    return "a lambda" if name == "<lambda>" else str(name)


def counted(things: Iterable[object]) -> str:
    """How many there are of each class.

    Example:
        >>> counted((1, 2.0, 3))
        '2 int, 1 float'
    """
    return ", ".join(f"{count} {name}" for name, count in Counter(type(thing).__name__ for thing in things).items())


def in_lines(head: str, /, **fields: object) -> str:
    """What an object is, and below it one line for each field; a field with lines of its own is indented.

    Example:
        >>> print(in_lines("Recorder of 3 weights", steps=12, loss=math.nan))
        Recorder of 3 weights
          steps: 12
          loss: not known
    """
    lines = [f"{name}: {shown(value)}" for name, value in fields.items()]
    return "\n  ".join([head, *(line.replace("\n", "\n  ") for line in lines)])


def shown(value: object) -> str:
    """A value in a few words: numbers to four digits, the values of small tensors, the range of large ones.

    Example:
        >>> shown(0.25), shown((1.0, math.nan)), shown((math.nan, math.nan)), shown(torch.zeros(2, 8))
        ('0.25', '(1, not known)', 'not known', '[2, 8], 0 to 0')
    """
    if isinstance(value, Tensor):
        return _shown_tensor(value.detach().cpu())
    if isinstance(value, float):
        return _UNKNOWN if math.isnan(value) else f"{value:.4g}"
    if isinstance(value, tuple | list):
        if value and all(isinstance(item, float) and math.isnan(item) for item in value):
            return _UNKNOWN
        parts = [shown(item) for item in value[:_MOST_SHOWN]] + ["..."] * (len(value) > _MOST_SHOWN)
        return f"({', '.join(parts)})"
    return name_of(value) if isinstance(value, FunctionType | type) else str(value)


def _shown_tensor(value: Tensor) -> str:
    if value.ndim < 2 and value.numel() <= _MOST_SHOWN:
        return shown(value.tolist())
    shape = f"[{', '.join(str(length) for length in value.shape)}]"
    if not value.numel():
        return f"{shape}, empty"
    if value.dtype == torch.bool:
        return f"{shape}, {int(value.sum())} of {value.numel()} true"
    known = value[~torch.isnan(value)] if value.is_floating_point() else value.flatten()
    if not known.numel():
        return f"{shape}, {_UNKNOWN}"
    missing = value.numel() - known.numel()
    reach = f"{shape}, {shown(float(known.min()))} to {shown(float(known.max()))}"
    return f"{reach}, {missing} {_UNKNOWN}" if missing else reach
