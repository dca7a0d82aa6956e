"""Runs of MLflow."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from pathlib import Path

__all__ = ["MlflowSink"]


class MlflowSink:
    """Logs to a run of its own, in the experiment "landscope".

    Args:
        path: Folder of a store, in a SQLite file; by default the tracking server that MLflow is set to.
    """

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            path.mkdir(parents=True, exist_ok=True)
        self._metric = importlib.import_module("mlflow.entities").Metric
        self._client = importlib.import_module("mlflow").MlflowClient(
            None if path is None else f"sqlite:///{path.absolute()}/mlflow.db"
        )
        found = self._client.get_experiment_by_name("landscope")
        experiment = self._client.create_experiment("landscope") if found is None else found.experiment_id
        self._run = self._client.create_run(experiment).info.run_id

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values of a step."""
        now = int(1000 * time.time())
        self._client.log_batch(self._run, [self._metric(name, value, now, step) for name, value in values.items()])

    def close(self) -> None:
        """Finish the run."""
        self._client.set_terminated(self._run)
