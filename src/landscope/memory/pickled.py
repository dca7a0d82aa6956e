"""What is said where a memory itself is pickled, as by ``torch.save(memory, path)``, in place of its state."""

from __future__ import annotations

import pickle
import sys
from typing import Any

from landscope.errors import InputError

__all__ = ["check_pickles"]

_COPIERS = {"copy", "dill", "cloudpickle"}
"""Packages that copy what pickle cannot, such as functions inside others; Ray and joblib hold copies of cloudpickle."""


class _Nowhere:
    """A file that keeps nothing."""

    def write(self, data: Any) -> int:
        return len(data)


class _Trial(pickle.Pickler):
    """Pickles the content of an object, which may hold the object itself again."""

    def __init__(self, outer: Any, protocol: int) -> None:
        super().__init__(_Nowhere(), protocol)
        self._outer = outer

    def persistent_id(self, value: Any) -> int | None:
        return 0 if value is self._outer else None


def check_pickles(memory: Any) -> None:
    """Raise with advice where pickle would fail in the middle of a memory; do nothing where it is copied.

    Raises:
        InputError: If the samples of a budget, the model, or anything else of it cannot be pickled.
    """
    if _is_copied():
        return
    try:
        _Trial(memory, pickle.DEFAULT_PROTOCOL).dump(vars(memory))
    except Exception as error:
        raise InputError(
            expected="the state of the memory, for a file", got=f"the memory itself ({error})",
            hint="Save the state: torch.save(memory.state_dict(), path). To go on, make the memory as before, load the "
            "weights, and call memory.load_state_dict(torch.load(path)).",
        ) from error  # fmt: skip


def _is_copied() -> bool:
    frame = sys._getframe(1)
    while frame is not None:
        if not _COPIERS.isdisjoint(frame.f_globals.get("__name__", "").split(".")):
            return True
        frame = frame.f_back
    return False
