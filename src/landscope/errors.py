"""The few kinds of errors and warnings of landscope; every error says what was expected, what came, what to do."""

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
    """Base of all errors of landscope.

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
    """An error again, after it crossed from another process."""
    return kind(expected=expected, got=got, hint=hint)


class InputError(LandscopeError, ValueError):
    """An argument that cannot be used: a wrong shape, dtype, device, name or range."""


class NonFiniteError(LandscopeError, ArithmeticError):
    """NaN where a number is needed, or an infinite loss at the centre of a line."""


class NondeterministicLossError(LandscopeError, RuntimeError):
    """A loss that differs between two evaluations at the same weights."""


class StorageError(LandscopeError, OSError):
    """A file that cannot be read or written: damaged, foreign, of a newer format, read-only, disk full."""


class DataUnavailableError(LandscopeError, LookupError):
    """A data set that is neither on this machine nor to be had from the hub."""


class LandscopeWarning(UserWarning):
    """Base of the warnings of landscope, so that one filter turns them into errors or hides them."""
