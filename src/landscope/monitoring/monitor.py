"""A monitor of a training that goes on: curvature, noise and motion, at a budget of time."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from landscope._checks import check_hooked, check_kind
from landscope.directions.directions import Directions
from landscope.errors import InputError, LandscopeWarning, StorageError
from landscope.files.atomic import make_folder
from landscope.monitoring.budget import Budget
from landscope.monitoring.history import MonitorHistory, Numbers
from landscope.monitoring.measurements import Measurements
from landscope.monitoring.open_sinks import OpenSinks
from landscope.monitoring.quantities import MULTIPLES, WEIGHTS
from landscope.monitoring.settings import MonitorSettings
from landscope.notices import warn
from landscope.optimizer_steps import ends_step
from landscope.processes import is_first_process
from landscope.results import stamp
from landscope.risk.empirical import EmpiricalRisk
from landscope.shown import in_lines
from landscope.storage.archive import load, save
from landscope.wording import error_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["HISTORY_FILE", "Monitor"]

HISTORY_FILE = "history.zarr.zip"


class Monitor:
    r"""Measures a training while it goes on, in at most a share of its time.

    The monitor hooks the optimiser, as a :class:`landscope.TrajectoryRecorder` does, and only reads: the training is
    bit for bit the same without it. All but the motion is measured on a fixed part of the risk's data, with the weights
    and the buffers after the step; each number is that of the public function for the same weights:

    =================== ========================== ===================================================================
    quantity            names                      what it is
    =================== ========================== ===================================================================
    ``loss``            ``loss``                   the loss of the probe samples
    ``sharpness``       ``sharpness``              the first eigenvalue of :func:`landscope.directions.hessian`,
    \                                              within 5 %
    ``batch_sharpness`` ``batch_sharpness``,       :func:`landscope.landscape.batch_sharpness`, and for SGD its edges of
    \                   ``edge``, ``noise_edge``   stability, 2 (1 + beta)/alpha and 2 (1 - beta)/alpha less the decay
    ``noise_scale``     ``noise_scale``            :func:`landscope.noise.noise_scale`, in samples
    ``temperature``     ``temperature/mode_1``,... :meth:`landscope.noise.GradientNoise.temperature` along the modes;
    \                                              needs ``motion``
    ``motion``          ``variance/mode_1``,...    :class:`landscope.directions.StreamingModes` of the weights
    \                   ``drift/LAYER``,           :class:`landscope.noise.LayerMotion`
    \                   ``diffusion/LAYER``
    =================== ========================== ===================================================================

    The budget is kept by measuring the time, after waiting for the device. Beside the training time T without
    measurements, the measuring time S stays at or below budget T whenever a measurement ends, except for the first two
    measurements of the loss and of the motion, whose cost is not known, and for one that is dearer than expected by
    those before, or at first by a multiple of the cost of the loss. What they take too much is paid back before the
    next measurement. Opening and closing sinks is not counted. A quantity that was measured a thousand times is
    measured at every second step at most, after two thousand times at every fourth, and so on.

    Several processes: the first one measures, and the others wait for it in their next exchange of gradients.

    Args:
        model: The model in training.
        optimizer: Its optimiser.
        risk: The loss of the model on its training data; its selected weights are monitored.
        batch_size: Samples of a minibatch, as in the training; None for the batches of the data as they are.
        budget: Largest share of the training time for measurements, above 0 and at most 1; 0.05 by default.
        every: Steps between measurements in place of a budget, however long they take, for numbers at the same steps in
            every run: one number, or one by quantity, as ``{"loss": 10, "sharpness": 1000}``; others are then not
            measured.
        to: Where the numbers go to: ``"tensorboard"``, ``"wandb"``, ``"trackio"``, ``"mlflow"``, ``"terminal"``, a
            function ``f(name, value, step)``, an object with ``add_scalar`` or ``log``, or several of these. A sink
            that fails is left out with a warning.
        path: Folder for what the sinks write, and for the history, which is written when the ``with`` block ends.
        quantities: Names of the quantities to measure; all by default.
        n_samples: Number of probe samples, chosen from the data of the risk with the seed.
        n_modes: Number of running principal modes.
        memory: Measurements of the motion after which the weight of one has fallen to 1/e.
        first_step: Number of the first step; the history in ``path`` before it is kept where it is above 1.
        seed: Random seed of the probe samples, the minibatches and the iterations.

    Raises:
        InputError: If an argument is of another kind or out of its range, a budget and ``every`` are given, the
            optimiser lacks selected parameters, the risk is of another model or on another device, each process has a
            part of the model only (FSDP2, tensor parallelism), or the package of a sink is not installed.
        StorageError: If ``path`` holds a history already, or is no folder in which files can be made.

    Warns:
        LandscopeWarning: If a quantity or a sink fails, which is then left out; if no step was taken, or there was no
            time for a quantity; if the history cannot be written.

    Example:
        >>> import landscope as ls, torch
        >>> model = torch.nn.Linear(3, 2)
        >>> data = torch.randn(64, 3), torch.arange(64) % 2
        >>> risk = ls.EmpiricalRisk(model, torch.nn.CrossEntropyLoss(), data)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with Monitor(model, optimizer, risk, batch_size=8, every=2) as monitor:
        ...     for _ in range(8):
        ...         optimizer.zero_grad()
        ...         torch.nn.functional.cross_entropy(model(data[0]), data[1]).backward()
        ...         optimizer.step()
        >>> steps, loss = monitor.history.curve("loss")
        >>> steps.tolist(), bool(loss[-1] < loss[0])
        ([2, 4, 6, 8], True)
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        risk: EmpiricalRisk,
        *,
        batch_size: int | None,
        budget: float | None = None,
        every: int | Mapping[str, int] | None = None,
        to: Any = (),
        path: str | Path | None = None,
        quantities: Iterable[str] | None = None,
        n_samples: int = 256,
        n_modes: int = 4,
        memory: int = 100,
        first_step: int = 1,
        seed: int = 0,
    ) -> None:
        self._settings = settings = MonitorSettings(
            budget=budget, every=every, to=to, path=path, quantities=quantities, n_samples=n_samples, n_modes=n_modes,
            memory=memory, first_step=first_step, seed=seed,
        )  # fmt: skip
        self._share, self._every, self._path = settings.share, settings.steps_between, settings.folder
        check_kind("risk", risk, EmpiricalRisk, hint="Pass ls.EmpiricalRisk(model, criterion, data).")
        self._optimizer = check_hooked(optimizer)
        self._measurements = Measurements(
            model, optimizer, risk, settings.names,
            batch_size=batch_size, n_samples=n_samples, n_modes=n_modes, memory=memory, seed=seed,
        )  # fmt: skip
        self._measures = is_first_process()
        self._first = first_step
        self._step = self._first - 1
        self._numbers, self._budget = Numbers(), self._new_budget()
        self._take_up_history()
        self._sinks, self._entered = OpenSinks([]), contextlib.ExitStack()
        self._state, self._seconds = "new", (0.0, 0.0)

    def _new_budget(self) -> Budget:
        weights = {name: WEIGHTS[name] for name in self._measurements.quantities}
        return Budget(self._share, weights, MULTIPLES, time.perf_counter)

    def _take_up_history(self) -> None:
        """Make the folder, refuse one with a history, or go on with it."""
        if self._path is None or not self._measures:
            return
        make_folder(self._path)
        if not (self._path / HISTORY_FILE).exists():
            return
        if self._first == 1:
            raise StorageError(
                expected=f"a folder without the history of a monitor at {self._path}", got=HISTORY_FILE,
                hint="Choose another path, or pass first_step= to go on with that training.",
            )  # fmt: skip
        self._numbers.add_history(load(self._path / HISTORY_FILE, MonitorHistory), self._first)

    def __repr__(self) -> str:
        pace = {"budget": f"{100 * self._share:g} %"} if self._every is None else {"every": self._settings.every}
        return in_lines(
            f"Monitor of {self._measurements.space.in_words}", quantities=self._settings.names, **pace, step=self._step,
        )  # fmt: skip

    def __enter__(self) -> Monitor:
        if self._state != "new":
            raise InputError(
                expected="a monitor that is entered once", got="a second `with` block",
                hint="Enter it around the whole training, or make a new one with first_step=.",
            )  # fmt: skip
        self._state = "entered"
        if not self._measures:
            return self
        with contextlib.ExitStack() as stack:
            self._sinks = stack.enter_context(OpenSinks(self._settings.openers))
            stack.callback(self._optimizer.register_step_post_hook(self._after_step).remove)
            self._entered = stack.pop_all()
        self._budget = self._new_budget()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._state != "entered":
            return
        self._state = "left"
        self._seconds = self._budget.training, self._budget.measuring
        self._entered.close()
        self._save_history()
        if kind is None and self._measures:
            self._warn_of_missing()

    def _save_history(self) -> None:
        """Write the history; a full disk is no reason to end a training, or to hide an error of the user's."""
        if self._path is None or not self._numbers.names:
            return
        try:
            save(self.history, self._path / HISTORY_FILE, overwrite=True)
        except OSError as error:
            warn(
                f"The history of the monitor was not written: {error_text(error)} It is in monitor.history; "
                "ls.save(monitor.history, path) writes it elsewhere.",
                LandscopeWarning,
            )

    def _warn_of_missing(self) -> None:
        if self._step < self._first:
            warn(
                "No optimiser step was seen. Call step() of the optimiser that the monitor was given, inside the with "
                "block.",
                LandscopeWarning,
            )
            return
        if self._every is not None:
            return
        costs = {name: self._budget.expected(name) for name in self._measurements.never_measured}
        known = [f"{name} (about {seconds:.2g} s)" for name, seconds in costs.items() if seconds is not None]
        if known:
            training, measuring = self._seconds
            warn(
                f"There was no time to measure {', '.join(known)}: {100 * self._share:g} % of {training:.3g} s of "
                f"training are {self._share * training:.2g} s, of which {measuring:.2g} s are spent. Pass a smaller "
                "n_samples, fewer quantities, a larger budget, or every=.",
                LandscopeWarning,
            )

    def close(self) -> None:
        """End the monitoring, as the end of the ``with`` block does."""
        self.__exit__(None, None, None)

    @property
    def step(self) -> int:
        """Number of the last step the optimiser took."""
        return self._step

    @property
    def history(self) -> MonitorHistory:
        """What was measured so far."""
        steps, values = self._numbers.table()
        is_running = self._state == "entered"
        training, measuring = (self._budget.training, self._budget.measuring) if is_running else self._seconds
        return MonitorHistory(
            steps=steps,
            names=tuple(self._numbers.names),
            values=values,
            training_seconds=training,
            measuring_seconds=measuring,
            budget=self._share if self._every is None else math.nan,
            provenance=stamp(seed=self._settings.seed, every=self._settings.every),
        )

    @property
    def share(self) -> float:
        """Share of the training time that the measurements took so far."""
        return self.history.share

    @property
    def modes(self) -> Directions:
        """The running principal modes.

        Raises:
            InputError: If the motion was not measured four times.
        """
        motion = self._measurements.motion
        if motion is None:
            raise InputError(expected="a monitor of the motion", got="one without", hint='Add "motion" to quantities.')
        return motion.modes.modes()

    def plot(self) -> go.Figure:
        """The history as curves over the steps."""
        return self.history.plot()

    def _after_step(self, *_: object) -> None:
        if not ends_step(self._optimizer):
            return
        self._step += 1
        if self._every is None:
            if self._budget.is_early():
                return
            self._measure_all(self._affordable)
        else:
            self._measure_all(self._due)

    def _due(self, done: set[str]) -> str | None:
        """The next quantity whose turn it is at this step."""
        assert self._every is not None  # noqa: S101 - asked only then
        ready = self._measurements.ready()
        due = (name for name in ready if name not in done and self._step % self._every.get(name, self._step + 1) == 0)
        return next(due, None)

    def _affordable(self, done: set[str]) -> str | None:
        """The next quantity for which there is time at this step."""
        ready = self._measurements.ready()
        return self._budget.next(
            [name for name in ready if name not in done and self._measurements.is_turn(name, self._step)]
        )

    def _measure_all(self, following: Callable[[set[str]], str | None]) -> None:
        """Measure one quantity after another, and the time that each takes."""
        done: set[str] = set()
        name = following(done)
        if name is None:
            return
        self._wait_for_device()  # what the training still computes is its own time
        began = self._budget.clock()
        with self._measurements.at(self._step) as measure:
            while name is not None:
                values = measure(name)
                self._numbers.add(self._step, values)
                self._sinks.write(self._step, values)
                self._wait_for_device()
                now = self._budget.clock()
                self._budget.charge(name, now - began)
                done.add(name)
                name, began = following(done), now
        self._budget.measuring += self._budget.clock() - began

    def _wait_for_device(self) -> None:
        if self._measurements.device.type != "cpu":
            torch.accelerator.synchronize(self._measurements.device)
