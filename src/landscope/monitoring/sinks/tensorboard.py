"""Event files of TensorBoard."""

from __future__ import annotations

import importlib
from pathlib import Path

from landscope.monitoring.sinks.given import WriterSink

__all__ = ["TensorBoardSink"]


class TensorBoardSink(WriterSink):
    """Writes event files, which ``tensorboard --logdir FOLDER`` shows.

    Args:
        path: The folder; ``runs/DATE_HOST`` by default, as of torch's ``SummaryWriter``.
    """

    def __init__(self, path: Path | None) -> None:
        writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
        super().__init__(writer(None if path is None else str(path)))

    def close(self) -> None:
        """Close the files."""
        self._writer.close()
