"""The run-time type checker of the tests: an int is as good as a float.

jaxtyping binds the arguments of every call anew, to compare shapes. Functions without a shape in their annotations are
nine calls of ten and need no such comparison: they get the type checker alone. The tests of a study's process take 22 %
less time so (29.0 and 25.2 s without, 22.0 and 19.5 s with it).
"""

import functools
import inspect
import typing

import jaxtyping
from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray, _decorator

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
_of_shapes = _decorator.jaxtyped


def _has_shape(hint):
    if isinstance(hint, list):  # the parameters of a Callable
        return any(map(_has_shape, hint))
    is_array = inspect.isclass(hint) and issubclass(hint, AbstractArray)
    return is_array or any(map(_has_shape, typing.get_args(hint)))


def _needs_shapes(function):
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception:  # noqa: BLE001 - of names that only type checkers import; jaxtyping leaves these out
        return True
    return any(map(_has_shape, hints.values()))


@functools.wraps(_of_shapes)
def _jaxtyped(*args, **settings):
    function, typechecker = args[0] if args else None, settings.get("typechecker")
    is_plain = inspect.isfunction(function) and typechecker is not None and function.__name__ != "__init__"
    if is_plain and not _needs_shapes(function):
        return typechecker(function)
    return _of_shapes(*args, **settings)


# The import hook and jaxtyping itself look the decorator up by these two names.
jaxtyping.jaxtyped = _decorator.jaxtyped = _jaxtyped
