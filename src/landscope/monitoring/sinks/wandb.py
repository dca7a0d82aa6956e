"""Runs of Weights & Biases."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path

__all__ = ["WandbSink"]


class WandbSink:
    """Logs to the run that is under way, or to one of its own.

    Args:
        path: Folder of a run of its own.
    """

    def __init__(self, path: Path | None) -> None:
        wandb = importlib.import_module("wandb")
        self._is_own = wandb.run is None
        self._run = wandb.init(dir=None if path is None else str(path)) if wandb.run is None else wandb.run
        self._run.define_metric("landscope/step")
        self._run.define_metric("landscope/*", step_metric="landscope/step")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values over the steps of landscope, whatever else the run logs."""
        self._run.log({**{f"landscope/{name}": value for name, value in values.items()}, "landscope/step": step})

    def close(self) -> None:
        """Finish a run of its own."""
        if self._is_own:
            self._run.finish()
