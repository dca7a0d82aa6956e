"""The first stage: train, find the exploration phase, record two windows."""

from __future__ import annotations

import contextlib
import time

import torch

from landscope._checks import check_count
from landscope.errors import InputError
from landscope.landscape.preconditioned import adam_preconditioner
from landscope.parameters import ParameterSpace
from landscope.protocols import ProgressCallback
from landscope.recorder import TrajectoryRecorder
from landscope.reproduction.experiment.problem import Problem
from landscope.reproduction.experiment.training import Epoch, evaluate, train
from landscope.results import stamp
from landscope.study.checkpoint import TrainingState, save_model
from landscope.study.folder import RunFolder
from landscope.threads import one_thread
from landscope.training_history import TrainingHistory
from landscope.trajectory import Trajectory, open_trajectory

__all__ = ["train_run", "windows"]

_SAVE_EVERY_SECONDS = 5.0
_MIN_WINDOW_STEPS = 21  # ten blocks of time with two steps each


def windows(run: RunFolder, history: TrainingHistory) -> tuple[Trajectory, Trajectory]:
    """The window of the analysis and the one after it."""
    trajectory = open_trajectory(run.path / "trajectory")
    first = history.start_epoch * history.steps_per_epoch + 1
    middle = history.window_step + 1
    return trajectory.window(first, middle), trajectory.window(middle)


def train_run(run: RunFolder, problem: Problem, progress: ProgressCallback) -> None:
    """Train until both windows are recorded; go on from the last saved state if there is one."""
    _Training(run, problem, progress).finish()


class _Training:
    def __init__(self, run: RunFolder, problem: Problem, progress: ProgressCallback) -> None:
        self._run, self._problem, self._progress = run, problem, progress
        settings = run.settings
        self._model = problem.network()
        ParameterSpace.of(self._model, problem.selection)  # a selection that matches nothing is told now, not later
        self._check_window()
        self._optimizer = problem.optimizer(self._model)
        self._latest = run.file("training-state")
        self._saved_at = time.monotonic()
        self._state = TrainingState()
        if self._latest.exists():
            self._state = TrainingState.load(self._latest, self._model, self._optimizer)
        elif settings.start == 0:
            self._state.start_epoch = 0
        self._steps_per_epoch = problem.order.batches_per_epoch

    def _check_window(self) -> None:
        steps, every = self._problem.order.batches_per_epoch, self._run.settings.record_every
        if steps % every:
            raise InputError(
                expected=f"record_every to divide the {steps} steps of an epoch, so that windows end on a recorded one",
                got=f"{every}",
                hint="Choose a divisor.",
            )
        rows = self._problem.window_epochs * steps // every
        check_count("recorded steps of a window", rows, minimum=_MIN_WINDOW_STEPS, hint="Raise --window-epochs.")

    def finish(self) -> None:
        state = self._state
        with contextlib.ExitStack() as stack:
            if self._problem.is_small:
                # Two threads would gain little, lose much on a busy machine, and make the bits depend on their number.
                stack.enter_context(one_thread())
            self._save_log_spaced(stack)
            recorder = self._record(stack) if state.start_epoch is not None else None
            epochs = train(
                self._model,
                self._problem.criterion,
                self._problem.train_data,
                self._optimizer,
                self._problem.order,
                first_epoch=state.epoch + 1,
                before_step=lambda loss: recorder.note_loss(loss) if recorder is not None else None,
            )
            while not self._done():
                self._note(next(epochs))
                if state.start_epoch is None and self._exploring():
                    state.start_epoch = state.epoch
                    recorder = self._record(stack)
                if state.start_epoch is not None and state.epoch == state.start_epoch + self._problem.window_epochs:
                    self._save_w0()
                self._save_if_due(recorder)
        self._run.save("training", self._history())
        self._latest.unlink(missing_ok=True)

    def _done(self) -> bool:
        start = self._state.start_epoch
        return start is not None and self._state.epoch >= start + 2 * self._problem.window_epochs

    def _exploring(self) -> bool:
        """Whether the window starts now: at zero training error, at the epoch asked for, or because time is up."""
        settings, epoch = self._run.settings, self._state.epoch
        if settings.start == "zero-error":
            return self._state.rows[-1][1] == 0 or epoch >= settings.max_epochs
        return epoch >= settings.start

    def _note(self, epoch: Epoch) -> None:
        self._state.epoch = epoch.number
        self._state.losses.append(epoch.losses)
        parts = (self._problem.train_data, self._problem.test_data)
        rows = [evaluate(self._model, data, self._problem.criterion) for data in parts]
        self._state.rows.append([*rows[0], *rows[1]])
        settings, start = self._run.settings, self._state.start_epoch
        known = start if start is not None else settings.start
        last = (settings.max_epochs if isinstance(known, str) else known) + 2 * self._problem.window_epochs
        self._progress(epoch.number, last)

    def _save_w0(self) -> None:
        """The whole model at the end of the window, and the coordinates its optimiser takes plain steps in."""
        if isinstance(self._optimizer, torch.optim.Adam):
            space = ParameterSpace.of(self._model, self._problem.selection)
            self._run.save("preconditioner", adam_preconditioner(self._model, self._optimizer, space))
        save_model(self._run.file("w0"), self._model, self._state.epoch * self._steps_per_epoch)

    def _record(self, stack: contextlib.ExitStack) -> TrajectoryRecorder:
        return stack.enter_context(
            TrajectoryRecorder(
                self._model,
                self._optimizer,
                self._problem.selection,
                path=self._run.path / "trajectory",
                every=self._run.settings.record_every,
                first_step=self._state.epoch * self._steps_per_epoch + 1,
                resume=True,
            )
        )

    def _save_if_due(self, recorder: TrajectoryRecorder | None) -> None:
        if time.monotonic() - self._saved_at < _SAVE_EVERY_SECONDS:
            return
        if recorder is not None:
            recorder.flush()  # rows first: a state must never be ahead of the trajectory
        self._state.save(self._latest, self._model, self._optimizer)
        self._saved_at = time.monotonic()

    def _save_log_spaced(self, stack: contextlib.ExitStack) -> None:
        """Full checkpoints at steps 0, 1, 2, 3, 4, 6, 8, 12, ...: two an octave."""
        folder = self._run.path / "checkpoints"
        step = self._state.epoch * self._steps_per_epoch
        if step == 0:
            save_model(folder / "step-000000000.zarr.zip", self._model, 0)

        def after_step(*_: object) -> None:
            nonlocal step
            step += 1
            third = step // 3 if step % 3 == 0 else step
            if step & (step - 1) == 0 or third & (third - 1) == 0:
                save_model(folder / f"step-{step:09d}.zarr.zip", self._model, step)

        handle = self._optimizer.register_step_post_hook(after_step)
        stack.callback(handle.remove)

    def _history(self) -> TrainingHistory:
        rows = torch.tensor(self._state.rows, dtype=torch.float64)
        start = self._state.start_epoch
        assert start is not None  # noqa: S101 - training ends only after the window has begun
        reached = start > 0 and float(rows[start - 1, 1]) == 0
        return TrainingHistory(
            minibatch_loss=torch.stack(self._state.losses),
            train_loss=rows[:, 0],
            train_error=rows[:, 1],
            test_loss=rows[:, 2],
            test_error=rows[:, 3],
            start_epoch=start,
            exploration_reached=reached,
            window_epochs=self._problem.window_epochs,
            steps_per_epoch=self._steps_per_epoch,
            provenance=stamp(**self._run.settings.model_dump(mode="json")),
        )
