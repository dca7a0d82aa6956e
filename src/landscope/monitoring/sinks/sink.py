"""What a monitor asks of a sink."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

__all__ = ["Sink"]


class Sink(Protocol):
    """Takes numbers during a training."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values that were measured after a step, by their names."""
        ...

    def close(self) -> None:
        """Write what is held, at the end of the training."""
        ...
