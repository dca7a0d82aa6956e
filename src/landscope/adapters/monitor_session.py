"""Monitors that are active while a training runs, for the callbacks of all frameworks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from torch import nn

from landscope._checks import check_count
from landscope.adapters.session import Training, TrainingSession
from landscope.errors import InputError
from landscope.monitoring.history import MonitorHistory
from landscope.monitoring.monitor import Monitor
from landscope.monitoring.settings import MonitorSettings
from landscope.risk.empirical import EmpiricalRisk
from landscope.seeded import kept_random_state

__all__ = ["MonitorSession"]


class MonitorSession(TrainingSession):
    """Monitors a training while it runs, on the main process.

    Args:
        risk: The loss on the training data; or ``f(model)`` that makes it, called when the training begins, where the
            model is on its device.
        batch_size: Samples of a minibatch; ``"training"`` for that of the training, None for the batches of the data as
            they are.
        **settings: Further arguments of :class:`landscope.Monitor`.

    Raises:
        InputError: If ``risk`` is neither a risk nor a function, or another argument does not fit, whatever the model.
    """

    def __init__(
        self,
        risk: EmpiricalRisk | Callable[[nn.Module], EmpiricalRisk],
        *,
        batch_size: int | str | None = "training",
        **settings: Any,
    ) -> None:
        if not callable(risk) or isinstance(risk, nn.Module):
            raise InputError(
                expected="a risk, or a function that makes it of the model", got=type(risk).__name__,
                hint="Pass lambda model: ls.EmpiricalRisk(model, criterion, data), or (model, data=batches) where it "
                "computes its loss itself.",
            )  # fmt: skip
        if batch_size not in ("training", None):
            check_count("batch_size", batch_size, hint='Pass a number of samples, None, or "training".')  # ty: ignore[invalid-argument-type]
        checked = MonitorSettings(**settings)  # now, and not after the hours in which the data were prepared
        self._settings = {name: getattr(checked, name) for name in settings}
        self._risk, self._batch_size = risk, batch_size
        self._monitor: Monitor | None = None

    @property
    def monitor(self) -> Monitor:
        """The monitor of the training that has begun last.

        Raises:
            InputError: If no training has begun on this process.
        """
        if self._monitor is None:
            raise InputError(
                expected="a training that has begun on this process", got="none",
                hint="Pass this callback to the Trainer and begin the training; only the main process measures.",
            )  # fmt: skip
        return self._monitor

    @property
    def history(self) -> MonitorHistory:
        """What was measured so far."""
        return self.monitor.history

    def _context(self, training: Training) -> contextlib.AbstractContextManager[Any]:
        self._monitor = None
        if not training.is_main_process:
            return contextlib.nullcontext()
        with kept_random_state():  # a loader draws a number when it is read
            risk = self._risk if isinstance(self._risk, EmpiricalRisk) else self._risk(training.model)
        size = training.batch_size if self._batch_size == "training" else self._batch_size
        if self._batch_size == "training" and size is None:
            raise InputError(
                expected="a training whose batch size is known", got="a loader without one",
                hint="Pass batch_size= to the callback.",
            )  # fmt: skip
        first = {"first_step": training.steps_taken + 1, **self._settings}
        optimizer = training.optimizer_for(risk.space, training.model)
        self._monitor = Monitor(training.model, optimizer, risk, batch_size=size, **first)  # ty: ignore[invalid-argument-type]
        return self._monitor
