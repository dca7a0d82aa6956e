"""A switch that turns automatic mixed precision off, because a loss with 3 digits makes staircases of lines."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

import torch

__all__ = ["full_precision", "in_full_precision", "is_autocast_on"]

K = TypeVar("K", bound=type)

_DEVICES = ("cpu", "cuda", "mps", "xpu")
_DUNDER = ("__init__", "__call__")


def is_autocast_on() -> bool:
    """Whether ``torch.autocast`` is switched on, for any device."""
    return any(map(torch.is_autocast_enabled, _DEVICES))


@contextlib.contextmanager
def full_precision() -> Generator[None]:
    """Switch ``torch.autocast`` off, and restore it afterwards.

    Backward passes and products of derivatives need it as well: torch casts also these.

    Example:
        >>> a = torch.full((1, 1), 1.001)
        >>> with torch.autocast("cpu", dtype=torch.bfloat16), full_precision():
        ...     (a @ a).dtype
        torch.float32
    """
    with contextlib.ExitStack() as stack:
        for device in filter(torch.is_autocast_enabled, _DEVICES):
            stack.enter_context(torch.autocast(device, enabled=False))
        yield


def in_full_precision(kind: K) -> K:
    """Let the public methods of a class run in full precision, wherever they are called.

    Example:
        >>> @in_full_precision
        ... class Square:
        ...     def __call__(self, a):
        ...         return a @ a
        >>> with torch.autocast("cpu", dtype=torch.bfloat16):
        ...     Square()(torch.ones(1, 1)).dtype
        torch.float32
    """
    for name, member in list(vars(kind).items()):
        if name.startswith("_") and name not in _DUNDER:
            continue
        if isinstance(member, classmethod):
            setattr(kind, name, classmethod(_wrapped(member.__func__)))
        elif inspect.isfunction(member):
            setattr(kind, name, _wrapped(member))
    return kind


def _wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.isgeneratorfunction(inspect.unwrap(function)):

        @functools.wraps(function)
        def items(*arguments: Any, **keywords: Any) -> Iterator[Any]:
            found, end = function(*arguments, **keywords), object()
            while True:
                with full_precision():
                    item = next(found, end)
                if item is end:
                    return
                yield item

        return items

    @functools.wraps(function)
    def value(*arguments: Any, **keywords: Any) -> Any:
        if not is_autocast_on():
            return function(*arguments, **keywords)
        with full_precision():
            return function(*arguments, **keywords)

    return value
