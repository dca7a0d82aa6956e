"""What is said of a model is said once, also where landscope works with a copy of it."""

from __future__ import annotations

import weakref
from typing import TypeVar

from torch import nn

__all__ = ["as_copy_of", "is_new"]

M = TypeVar("M", bound=nn.Module)

_SAID: weakref.WeakKeyDictionary[nn.Module, set[str]] = weakref.WeakKeyDictionary()
"""What was said of each model; a copy shares it with its original."""


def is_new(model: nn.Module, message: str) -> bool:
    """Whether a message about a model comes for the first time; from then on it does not.

    Example:
        >>> model = nn.Linear(1, 1)
        >>> is_new(model, "slow"), is_new(model, "slow"), is_new(nn.Linear(1, 1), "slow")
        (True, False, True)
    """
    said = _SAID.setdefault(model, set())
    is_first = message not in said
    said.add(message)
    return is_first


def as_copy_of(original: nn.Module, copied: M) -> M:
    """A copy of a model: what was said of one of the two is not said again of the other.

    Example:
        >>> model = nn.Linear(1, 1)
        >>> copied = as_copy_of(model, nn.Linear(1, 1))
        >>> is_new(copied, "slow"), is_new(model, "slow")
        (True, False)
    """
    _SAID[copied] = _SAID.setdefault(original, set())
    return copied
