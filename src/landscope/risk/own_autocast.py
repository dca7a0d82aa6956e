"""A warning where a model or a loss switches mixed precision on itself: its losses then have 3 digits."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any

from torch.overrides import TorchFunctionMode

from landscope.errors import LandscopeWarning
from landscope.full_precision import is_autocast_on
from landscope.notices import warn

__all__ = ["warn_of_own_autocast"]


class _Watch(TorchFunctionMode):
    """Sees whether an operation is called while ``torch.autocast`` is on."""

    def __init__(self) -> None:
        super().__init__()
        self.is_on = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.is_on = self.is_on or is_autocast_on()
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def warn_of_own_autocast(what: str) -> Generator[None]:
    """Say that a model or a loss that is evaluated within is in mixed precision by its own code.

    Args:
        what: The model and the loss, in words.

    Warns:
        LandscopeWarning: If it is.
    """
    with _Watch() as watch:
        yield
    if watch.is_on:
        warn(
            f"{what} switches torch.autocast on itself. landscope leaves it on there: the loss then has 3 digits, its "
            "lines are staircases, and widths and curvatures may be wrong by several per cent. landscope evaluates in "
            "eval mode: write torch.autocast(..., enabled=self.training) in forward, and switch it off in a loss.",
            LandscopeWarning,
        )
