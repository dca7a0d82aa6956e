"""The error classes of landscope; every message says what was expected, what came, and what to do."""

from __future__ import annotations

__all__ = [
    "DataUnavailableError",
    "InputError",
    "LandscopeError",
    "LandscopeWarning",
    "NondeterministicLossError",
    "NonFiniteError",
    "StorageError",
]


class LandscopeError(Exception):
    """Base class of all errors of landscope.

    Args:
        expected: What the call needed.
        got: What the call received.
        hint: What to do about it.

    Example:
        >>> print(InputError(expected="a window of at least 2 steps", got="1", hint="Record longer."))
        Expected a window of at least 2 steps; got 1. Record longer.
    """

    def __init__(self, *, expected: str, got: str, hint: str) -> None:
        super().__init__(expected, got, hint)
        self.expected, self.got, self.hint = expected, got, hint

    def __reduce__(self) -> tuple:
        return _rebuilt, (type(self), self.expected, self.got, self.hint)

    def __str__(self) -> str:
        return f"Expected {self.expected}; got {self.got}. {self.hint}"


def _rebuilt(kind: type[LandscopeError], expected: str, got: str, hint: str) -> LandscopeError:
    """Rebuild an error that another process has pickled."""
    return kind(expected=expected, got=got, hint=hint)


class InputError(LandscopeError, ValueError):
    """An argument has a wrong shape, dtype, device, name or range."""


class NonFiniteError(LandscopeError, ArithmeticError):
    """A value is NaN where a number is needed, or the loss at the centre of a line is infinite."""


class NondeterministicLossError(LandscopeError, RuntimeError):
    """The loss differs between two evaluations at the same weights."""


class StorageError(LandscopeError, OSError):
    """A file cannot be read or written: it is damaged, foreign, newer or read-only, or the disk is full."""


class DataUnavailableError(LandscopeError, LookupError):
    """A data set is not on this machine, and the hub does not provide it."""


class LandscopeWarning(UserWarning):
    """Base of the warnings of landscope, so that one filter turns them into errors or hides them."""
