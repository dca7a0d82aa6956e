"""Warnings of everything that acts while an optimiser trains: each names the line of the user's program."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

from torch import nn

__all__ = ["UnusedContextWarning", "WarnsIfUnused", "listed", "warn", "warn_of_statistics"]

_INNER = ("landscope", "contextlib", "jaxtyping", "torch")
"""Packages whose lines are not the user's."""


class UnusedContextWarning(UserWarning):
    """A context manager was made and never entered, so that it did nothing."""


class WarnsIfUnused:
    """Base of context managers that warn if they are never entered.

    A subclass sets ``_unused`` to the message at the end of its ``__init__``, and to "" when it is entered.
    """

    _unused = ""

    def __del__(self) -> None:
        if self._unused:
            warn(self._unused, UnusedContextWarning)


def warn(message: str, kind: type[Warning] = UserWarning) -> None:
    """Warn at the line of the user's program that led here."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _INNER:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, kind, stacklevel=level)


def listed(names: Sequence[str]) -> str:
    """At most three names, for a message."""
    return ", ".join([*names[:3], *(["..."] if len(names) > 3 else [])])


def warn_of_statistics(model: nn.Module) -> None:
    """Warn where layers update running statistics, which no penalty holds."""
    updating = [
        repr(name)
        for name, module in model.named_modules()
        if module.training and getattr(module, "track_running_stats", False) and hasattr(module, "running_mean")
    ]
    if updating:
        warn(
            f"layers {listed(updating)} update running statistics, which are not weights, so no penalty holds them; "
            'ls.keep and ls.TaskMemory leave them as they are with batch_norm="kept", their default, and a budget with '
            "samples holds them too"
        )
