"""All methods by name."""

from __future__ import annotations

from collections.abc import Mapping

from landscope._checks import check_choice
from landscope.errors import InputError
from landscope.memory.methods.baselines import L2, MAS
from landscope.memory.methods.basin import Basin
from landscope.memory.methods.fisher import EWC, KFAC
from landscope.memory.methods.ldc import LDC
from landscope.memory.methods.method import Method

__all__ = ["METHODS", "resolve_method"]

METHODS: Mapping[str, Method] = {method.name: method for method in (Basin(), LDC(), EWC(), KFAC(), MAS(), L2())}
"""Every method with its default options, by name."""


def resolve_method(method: str | Method) -> Method:
    """The method that a name stands for, or the method itself.

    Raises:
        InputError: If there is no method of that name.
    """
    if isinstance(method, Method):
        return method
    if isinstance(method, str):
        return METHODS[check_choice("method", method, METHODS)]
    raise InputError(
        expected=f"a method, or one of the names {', '.join(METHODS)}", got=type(method).__name__,
        hint='Pass "basin", or landscope.memory.LDC(...) with options.',
    )  # fmt: skip
