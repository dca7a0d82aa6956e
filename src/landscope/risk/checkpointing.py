"""A switch that makes ``torch.utils.checkpoint`` call its function directly."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator
from typing import Any

import torch.utils.checkpoint

__all__ = ["no_checkpointing"]

_lock = threading.Lock()
_entered, _kept = 0, dict[str, Any]()


class _DirectCall:
    @staticmethod
    def apply(function: Callable[..., Any], _: bool, *args: Any) -> Any:
        return function(*args)


def _nothing(*_: Any, **__: Any) -> Generator[None]:
    yield


_DIRECT = {"CheckpointFunction": _DirectCall, "_checkpoint_without_reentrant_generator": _nothing}


@contextlib.contextmanager
def no_checkpointing() -> Generator[None]:
    """Keep activations in place of their computation in the backward pass, which would use other weights.

    A risk replaces the weights for one call only, and checkpoints would compute the activations after this call.

    Example:
        >>> import torch
        >>> with no_checkpointing():
        ...     torch.utils.checkpoint.checkpoint(torch.square, torch.tensor(3.0), use_reentrant=False).item()
        9.0
    """
    global _entered
    module = torch.utils.checkpoint
    with _lock:
        if _entered == 0:
            _kept.update({name: getattr(module, name) for name in _DIRECT})
            for name, direct in _DIRECT.items():
                setattr(module, name, direct)
        _entered += 1
    try:
        yield
    finally:
        with _lock:
            _entered -= 1
            if _entered == 0:
                for name, original in _kept.items():
                    setattr(module, name, original)
