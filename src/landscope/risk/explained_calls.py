"""Errors of a user's loss in words, while wrong arguments of a call stay Python's own error."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar, cast

from landscope._checks import explained

__all__ = ["ExplainedCalls"]

F = TypeVar("F", bound=Callable[..., Any])


class ExplainedCalls(contextlib.AbstractContextManager[None]):
    """``explained`` as a context and as a decorator, which leaves wrong arguments of a call to Python.

    Args:
        expected: See there.
        hint: See there.
    """

    def __init__(self, expected: str, hint: str) -> None:
        self._make = functools.partial(explained, expected, hint)

    def __enter__(self) -> None:
        self._context = self._make()
        return self._context.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return self._context.__exit__(kind, error, traceback)

    def __call__(self, function: F) -> F:
        """Explain errors within the calls of a function."""
        signature = inspect.signature(function)

        @functools.wraps(function)
        def explained_call(*arguments: Any, **keywords: Any) -> Any:
            signature.bind(*arguments, **keywords)
            with self._make():
                return function(*arguments, **keywords)

        return cast(F, explained_call)
