"""Warnings of everything that acts while an optimiser trains: each names the line of the user's program."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from landscope.notices import warn
from landscope.risk.running_statistics import updating_layers

__all__ = ["UnusedContextWarning", "WarnsIfUnused", "listed", "warn", "warn_of_statistics"]


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


def listed(names: Sequence[str]) -> str:
    """At most three names, for a message."""
    return ", ".join([*names[:3], *(["..."] if len(names) > 3 else [])])


def warn_of_statistics(model: nn.Module) -> None:
    """Warn where layers update running statistics, which no penalty holds."""
    updating = {layer for layer in updating_layers(model) if layer.training}
    names = [repr(name) for name, module in model.named_modules() if module in updating]
    if names:
        warn(
            f"layers {listed(names)} update running statistics, which are not weights, so no penalty holds them; "
            'ls.keep and ls.TaskMemory leave them as they are with batch_norm="kept", their default, and a budget with '
            "samples holds them too"
        )
