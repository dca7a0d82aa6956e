"""The training of a built-in network: finds the exploration phase and records two windows into a study."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import torch
from torch import nn

from landscope._checks import check_count
from landscope.errors import InputError, StorageError
from landscope.landscape.preconditioned import adam_preconditioner
from landscope.parameters import ParameterSpace
from landscope.progress import Reporter
from landscope.protocols import ProgressCallback
from landscope.reproduction.experiment.experiment import Experiment
from landscope.reproduction.experiment.finished import INITIAL, PRECONDITIONER, drop_training
from landscope.reproduction.experiment.training import Epoch, evaluate, train
from landscope.reproduction.experiment.training_state import TrainingState
from landscope.results import stamp
from landscope.storage import RowStore, read_heading
from landscope.study.checkpoints import Checkpoints
from landscope.study.folder import StudyFolder
from landscope.study.recording import StudyRecorder
from landscope.study.whole_training import reason_against_training
from landscope.threads import one_thread
from landscope.training_history import TrainingHistory

__all__ = ["START", "is_log_spaced", "train_run"]

_SAVE_EVERY_SECONDS = 5.0
_MIN_WINDOW_STEPS = 21  # ten blocks of time with two steps each
START = "start_epoch"
"""Key of the epoch after which the window starts, among the facts of the training."""


def train_run(path: Path, experiment: Experiment, reporter: Reporter) -> None:
    """Train until both windows are recorded; continue from the last saved state if there is one."""
    folder, started = StudyFolder.open(path), time.perf_counter()
    with folder.locked(), reporter.stage("Training (epochs, at most)") as progress:
        _begin_again_if_incomplete(folder, experiment, reporter)
        _Training(folder, experiment, progress).finish()
    seconds = time.perf_counter() - started
    folder.note_time("train", seconds)
    reporter.note(f"[green]done[/green] train in {seconds:.1f} s")


def _begin_again_if_incomplete(folder: StudyFolder, experiment: Experiment, reporter: Reporter) -> None:
    """Drop a training whose state is damaged, or is ahead of the rows that are there; it is made again, bit for bit."""
    latest, path = folder.file("training-state"), folder.path / "trajectory"
    if not latest.exists():
        return
    try:
        state = TrainingState.read(latest)
        store = RowStore.open(path) if path.exists() else None
        there = set() if store is None else set(store.read("steps", 0, store.rows).tolist())
        missing = [step for step in _steps_due(state, experiment) if step not in there]
        reason = f"the recording lacks {len(missing)} rows, from step {missing[0]} on" if missing else ""
        reason = reason or _missing_models(folder, state, experiment) or reason_against_training(folder)
    except StorageError as error:
        reason = str(error)
    if reason:
        reporter.note(f"[yellow]the training begins again:[/yellow] {reason}")
        drop_training(folder)


def _missing_models(folder: StudyFolder, state: TrainingState, experiment: Experiment) -> str:
    """Which whole models a training must have left until a state, and has not; empty where all are there."""
    last = state.epoch * experiment.order.batches_per_epoch
    there = set(Checkpoints(folder.path / "checkpoints").steps())
    missing = [step for step in range(last + 1) if (step == 0 or is_log_spaced(step)) and step not in there]
    return f"the whole model of step {missing[0]} is missing" if missing else ""


def _steps_due(state: TrainingState, experiment: Experiment) -> range:
    """The steps that have a row once a training has reached a state."""
    if state.start_epoch is None:
        return range(0)
    steps, every = experiment.order.batches_per_epoch, experiment.settings.record_every
    return range(state.start_epoch * steps + every, state.epoch * steps + 1, every)


def _initial_network(folder: StudyFolder, experiment: Experiment) -> nn.Module:
    """The network at the begin of the training; a file of initial weights must be the one that it began with."""
    model, file = experiment.network(), experiment.settings.initial
    if file is not None:
        digest, before = read_heading(Path(file)).digest, folder.read_note("training").get(INITIAL)
        if before not in (None, digest):
            raise StorageError(
                expected=f"the initial weights in {file} with which the training in {folder.path} began",
                got="others",
                hint="Restore that file, or choose another folder.",
            )
        folder.change_note("training", {INITIAL: digest})
    return model


class _Training:
    def __init__(self, folder: StudyFolder, experiment: Experiment, progress: ProgressCallback) -> None:
        self._folder, self._experiment, self._progress = folder, experiment, progress
        settings = experiment.settings
        self._latest = folder.file("training-state")
        self._model = experiment.unloaded_network() if self._latest.exists() else _initial_network(folder, experiment)
        ParameterSpace.of(self._model, experiment.selection)  # a selection that matches nothing fails now, not later
        self._check_window()
        self._optimizer = experiment.optimizer(self._model)
        self._saved_at = time.monotonic()
        self._state = TrainingState()
        if self._latest.exists():
            self._state = TrainingState.load(self._latest, self._model, self._optimizer)
        elif settings.start == 0:
            self._state.start_epoch = 0
        self._steps_per_epoch = experiment.order.batches_per_epoch

    def _check_window(self) -> None:
        steps, every = self._experiment.order.batches_per_epoch, self._experiment.settings.record_every
        if steps % every:
            raise InputError(
                expected=f"record_every to divide the {steps} steps of an epoch, so that windows end on a recorded one",
                got=f"{every}",
                hint="Choose a divisor.",
            )
        rows = self._experiment.window_epochs * steps // every
        check_count("recorded steps of a window", rows, minimum=_MIN_WINDOW_STEPS, hint="Raise --window-epochs.")

    def finish(self) -> None:
        state = self._state
        with contextlib.ExitStack() as stack:
            if self._experiment.is_small:
                # Two threads would gain little, lose much on a busy machine, and make the bits depend on their number.
                stack.enter_context(one_thread())
            self._save_log_spaced(stack)
            recorder = self._record(stack) if state.start_epoch is not None else None
            epochs = train(
                self._model,
                self._experiment.criterion,
                self._experiment.train_data,
                self._optimizer,
                self._experiment.order,
                first_epoch=state.epoch + 1,
                before_step=lambda loss: recorder.note_loss(loss) if recorder is not None else None,
            )
            while not self._done():
                self._note(next(epochs))
                if state.start_epoch is None and self._exploring():
                    state.start_epoch = state.epoch
                    recorder = self._record(stack)
                if state.start_epoch is not None and state.epoch == state.start_epoch + self._experiment.window_epochs:
                    self._save_coordinates()
                self._save_if_due(recorder)
        self._folder.save("training", self._history())
        self._latest.unlink(missing_ok=True)

    def _done(self) -> bool:
        start = self._state.start_epoch
        return start is not None and self._state.epoch >= start + 2 * self._experiment.window_epochs

    def _exploring(self) -> bool:
        """Whether the window starts now: at zero training error, at a given epoch, or at the last epoch to wait for."""
        settings, epoch = self._experiment.settings, self._state.epoch
        if settings.start == "zero-error":
            return self._state.rows[-1][1] == 0 or epoch >= settings.max_epochs
        return epoch >= settings.start

    def _note(self, epoch: Epoch) -> None:
        self._state.epoch = epoch.number
        self._state.losses.append(epoch.losses)
        parts = (self._experiment.train_data, self._experiment.test_data)
        rows = [evaluate(self._model, data, self._experiment.criterion) for data in parts]
        self._state.rows.append([*rows[0], *rows[1]])
        settings, start = self._experiment.settings, self._state.start_epoch
        known = start if start is not None else settings.start
        last = (settings.max_epochs if isinstance(known, str) else known) + 2 * self._experiment.window_epochs
        self._progress(epoch.number, last)

    def _save_coordinates(self) -> None:
        """The coordinates in which the optimiser takes plain steps, at the end of the window."""
        if isinstance(self._optimizer, torch.optim.Adam):
            space = ParameterSpace.of(self._model, self._experiment.selection)
            self._folder.save(PRECONDITIONER, adam_preconditioner(self._model, self._optimizer, space))
            digest = self._folder.heading(PRECONDITIONER).digest
            self._folder.change_note("training", {PRECONDITIONER: digest})

    def _record(self, stack: contextlib.ExitStack) -> StudyRecorder:
        start, epochs = self._state.start_epoch, self._experiment.window_epochs
        assert start is not None  # noqa: S101 - recording begins with the window
        ends = tuple((start + number * epochs) * self._steps_per_epoch for number in (1, 2))
        recorder = stack.enter_context(
            StudyRecorder(
                self._folder,
                self._model,
                self._optimizer,
                self._experiment.selection,
                every=self._experiment.settings.record_every,
                first_step=self._state.epoch * self._steps_per_epoch + 1,
                resume=(self._folder.path / "trajectory").exists(),
                checkpoints=is_log_spaced,
                always=ends,
            )
        )
        self._folder.change_note("training", {START: start})
        return recorder

    def _save_if_due(self, recorder: StudyRecorder | None) -> None:
        if time.monotonic() - self._saved_at < _SAVE_EVERY_SECONDS:
            return
        if recorder is not None:
            recorder.flush()  # rows first: a state must never be ahead of the trajectory
        self._state.save(self._latest, self._model, self._optimizer)
        self._saved_at = time.monotonic()

    def _save_log_spaced(self, stack: contextlib.ExitStack) -> None:
        """Whole models at steps 0, 1, 2, 3, 4, 6, 8, 12, ...: two an octave; also before the recording begins."""
        checkpoints = Checkpoints(self._folder.path / "checkpoints")
        step = self._state.epoch * self._steps_per_epoch
        if step == 0:
            checkpoints.save(0, self._model)

        def after_step(*_: object) -> None:
            nonlocal step
            step += 1
            if is_log_spaced(step):
                checkpoints.save(step, self._model)

        handle = self._optimizer.register_step_post_hook(after_step)
        stack.callback(handle.remove)

    def _history(self) -> TrainingHistory:
        rows = torch.tensor(self._state.rows, dtype=torch.float64)
        return TrainingHistory(
            steps=torch.arange(1, len(rows) + 1) * self._steps_per_epoch,
            train_loss=rows[:, 0],
            train_error=rows[:, 1],
            test_loss=rows[:, 2],
            test_error=rows[:, 3],
            minibatch_loss=torch.cat(self._state.losses),
            provenance=stamp(**self._experiment.settings.model_dump(mode="json")),
        )


def is_log_spaced(step: int) -> bool:
    """Whether a step is a power of two, or three times one."""
    third = step // 3 if step % 3 == 0 else step
    return step > 0 and (step & (step - 1) == 0 or third & (third - 1) == 0)
