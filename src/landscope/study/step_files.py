"""A folder with one file for each of some optimiser steps."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

__all__ = ["StepFiles"]


class StepFiles:
    """What is kept of a training at some of its steps, one file each.

    Args:
        path: Their folder.

    Example:
        >>> import tempfile
        >>> files = StepFiles(Path(tempfile.mkdtemp()))
        >>> files.file(20).touch(), files.file(3).touch(), files.steps()
        (None, None, [3, 20])
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def file(self, step: int) -> Path:
        """Path of the file of ``step``."""
        return self.path / f"step-{step:09d}.zarr.zip"

    def steps(self) -> list[int]:
        """Steps that have a file, rising."""
        return sorted(int(file.name.removeprefix("step-").split(".")[0]) for file in self.path.glob("step-*.zarr.zip"))

    def drop(self, steps: Iterable[int]) -> None:
        """Delete the files of these steps."""
        for step in steps:
            self.file(step).unlink(missing_ok=True)
