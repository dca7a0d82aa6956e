"""The sinks that a user names."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from landscope.errors import InputError
from landscope.monitoring.sinks.given import CallbackSink, LogSink, WriterSink
from landscope.monitoring.sinks.sink import Sink

__all__ = ["NAMES", "several", "sinks_of"]

_HOMES = {
    "tensorboard": ("TensorBoardSink", "tensorboard"),
    "wandb": ("WandbSink", "wandb"),
    "trackio": ("TrackioSink", "trackio"),
    "mlflow": ("MlflowSink", "mlflow"),
    "terminal": ("TerminalSink", "rich"),
}
NAMES = tuple(_HOMES)


def sinks_of(to: Any, path: Path | None) -> list[tuple[str, Callable[[], Sink]]]:
    """The sinks that were named or given, each with a function that opens it.

    Args:
        to: A name of ``NAMES``, a function ``f(name, value, step)``, an object with ``add_scalar`` or ``log``, or
            several of these.
        path: Folder for what they write.

    Raises:
        InputError: If one is none of these, or its package is not installed.
    """
    return [_opener(one, path) for one in several(to)]


def several(to: Any) -> tuple[Any, ...]:
    """One sink, or several, as a tuple."""
    are_several = isinstance(to, Iterable) and not isinstance(to, str) and not _is_sink(to)
    return tuple(to) if are_several else (to,)


def _is_sink(value: Any) -> bool:
    return callable(value) or hasattr(value, "add_scalar") or hasattr(value, "log")


def _opener(chosen: Any, path: Path | None) -> tuple[str, Callable[[], Sink]]:
    if isinstance(chosen, str) and chosen in _HOMES:
        kind, package = _HOMES[chosen]
        if importlib.util.find_spec(package) is None:
            raise InputError(
                expected=f"the package {package}", got="none that is installed",
                hint=f"Install it: pip install 'landscope[{chosen}]'.",
            )  # fmt: skip
        module = importlib.import_module(f"landscope.monitoring.sinks.{chosen}")
        return chosen, lambda: getattr(module, kind)(path)
    if hasattr(chosen, "add_scalar"):
        return type(chosen).__name__, lambda: WriterSink(chosen)
    if hasattr(chosen, "log") and callable(chosen.log):
        return getattr(chosen, "__name__", type(chosen).__name__), lambda: LogSink(chosen)
    if callable(chosen):
        return getattr(chosen, "__name__", type(chosen).__name__), lambda: CallbackSink(chosen)
    raise InputError(
        expected=f"to= {', '.join(map(repr, NAMES))}, a function f(name, value, step), or a writer or run of your own",
        got=repr(chosen),
        hint='Pass to=["tensorboard"], or several.',
    )
