"""Warnings name the line of the user; what is said of a model is said once, also where landscope works with a copy."""

from __future__ import annotations

import contextlib
import contextvars
import sys
import warnings
import weakref
from collections.abc import Generator
from typing import TypeVar

from torch import nn

__all__ = ["as_copy_of", "is_about_user_code_alone", "is_new", "user_code_alone", "warn"]

_INNER = ("landscope", "contextlib", "jaxtyping", "torch", "transformers", "accelerate", "lightning")
"""Packages whose lines are not the user's."""

M = TypeVar("M", bound=nn.Module)

_SAID: weakref.WeakKeyDictionary[nn.Module, set[str]] = weakref.WeakKeyDictionary()
"""What was said of each model; a copy shares it with its original."""
_USER_CODE_ALONE = contextvars.ContextVar("_USER_CODE_ALONE", default=False)


def warn(message: str, kind: type[Warning] = UserWarning) -> None:
    """Warn at the line of the user's program that led here."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _INNER:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, kind, stacklevel=level)


@contextlib.contextmanager
def user_code_alone() -> Generator[None]:
    """Within the context, advice is given where it is about a line of the user's code, and not where it is general.

    Example:
        >>> with user_code_alone():
        ...     is_about_user_code_alone()
        True
    """
    token = _USER_CODE_ALONE.set(True)
    try:
        yield
    finally:
        _USER_CODE_ALONE.reset(token)


def is_about_user_code_alone() -> bool:
    """Whether general advice is not wanted now."""
    return _USER_CODE_ALONE.get()


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
