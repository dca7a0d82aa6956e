"""Runs of trackio."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path

__all__ = ["TrackioSink"]


class TrackioSink:
    """Logs to a run of its own, in a project of the folder's name.

    Args:
        path: The folder; the project is "landscope" by default.
    """

    def __init__(self, path: Path | None) -> None:
        trackio = importlib.import_module("trackio")
        self._run = trackio.init(project="landscope" if path is None else path.name)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values of a step."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()
