"""Recording for a study: the selected weights at every step, the whole model at some."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from landscope._checks import check_hooked
from landscope.errors import InputError, StorageError
from landscope.optimizer_steps import ends_step
from landscope.parameters import ParameterSpace, Selection
from landscope.processes import Turn
from landscope.recorder import TrajectoryRecorder
from landscope.recorder.sinks import other_spacing
from landscope.recorder.tables import Encoding
from landscope.storage import RowStore
from landscope.storage.folder import ResultFolder
from landscope.study.checkpoints import Checkpoints, CheckpointSchedule, model_bytes
from landscope.study.data_identity import DataIdentity
from landscope.study.folder import StudyFolder
from landscope.study.modes_of_modules import modules_in_eval
from landscope.study.reach import check_reach, note_reach, note_whole, shorten
from landscope.study.second_moments import SecondMoments
from landscope.study.training_facts import facts_of
from landscope.study.whole_training import check_rows

__all__ = ["StudyRecorder", "check_recorded", "is_recorded"]

_OF_THE_MINIBATCHES = ("batch_size", "steps_per_epoch", "data_batch_size", "data_steps_per_epoch")


class StudyRecorder:
    """Records one training into a study; made by :meth:`landscope.Study.record`.

    Args:
        folder: The study's folder.
        model: The model in training.
        optimizer: Its optimiser.
        select: Parameters whose weights are kept at every step.
        every: Steps between two rows.
        first_step: Number of the first step taken while recording.
        resume: Continue the rows in the folder up to ``first_step``.
        n_steps: Steps that will be recorded, where that is known.
        encoding: How the rows are stored, see :class:`landscope.TrajectoryRecorder`.
        checkpoints: ``checkpoints(step) -> bool`` chooses the steps at which the whole model is kept; by default
            10 to 20 evenly spaced ones.
        always: Steps at which the whole model is kept in any case.
        data: What the training data are known by, which the analysis compares with its own; None if nothing is known.
        turn: The recording as the other processes of the training see it, which wait for its end.

    Raises:
        InputError: If the optimiser holds none of the selected parameters, or a recording goes on with another
            ``every``.
        StorageError: If the folder holds a recording and ``resume`` is off, or results of it.
    """

    def __init__(
        self,
        folder: StudyFolder,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        select: Selection | Iterable[Selection] | ParameterSpace | None = None,
        *,
        every: int = 1,
        first_step: int | None = None,
        resume: bool = False,
        n_steps: int | None = None,
        encoding: Encoding = "exact",
        checkpoints: Callable[[int], bool] | None = None,
        always: tuple[int, ...] = (),
        data: DataIdentity | None = None,
        turn: Turn | None = None,
    ) -> None:
        self._turn, optimizer = turn, check_hooked(optimizer)
        self._folder, self._model, self._optimizer, self._every = folder, model, optimizer, every
        self._path, self._checkpoints = folder.path / "trajectory", Checkpoints(folder.path / "checkpoints")
        with folder.locked():
            if resume:
                check_reach(folder, first_step)
                _check_same_spacing(folder, every, first_step)
            else:
                _check_nothing_recorded(folder)
            self._recorder = TrajectoryRecorder(
                model, optimizer, select, path=self._path, every=every, first_step=first_step,
                resume=resume and self._path.exists(), n_steps=n_steps,
                encoding=encoding,
            )  # fmt: skip
        self._recorder.about_end = self._about_last_model
        self._moments = SecondMoments(folder.path / "second-moments")
        self._step = self._recorder.step
        self._choose, self._always, self._data = checkpoints, set(always), data
        self._schedule = self._schedule_from(self._step + 1)
        self._entered, self._is_recording, self._has_noted_modes = contextlib.ExitStack(), False, False

    def _facts(self) -> dict[str, Any]:
        """What the optimiser says of the recorded weights; the sizes of minibatches are not its own."""
        found = dataclasses.asdict(facts_of(self._optimizer, self._recorder.groups, self._every))
        return {name: value for name, value in found.items() if name not in _OF_THE_MINIBATCHES}

    def _schedule_from(self, first: int) -> CheckpointSchedule:
        return CheckpointSchedule(
            self._checkpoints, model_bytes(self._model), first=first, every=self._every, always=tuple(self._always)
        )

    def _begin(self) -> None:
        """Remove what is recorded again, models before rows, and keep the model that the training begins with."""
        self._recorder.check_restored()
        self._recorder.check_room()
        shorten(self._folder, self._step)
        self._checkpoints.drop([step for step in self._checkpoints.steps() if step > self._step])
        self._recorder.begin()
        store = RowStore.open(self._path)
        self._schedule = self._schedule_from(int(store.read("steps", 0, 1)[0]) if store.rows else self._step + 1)
        if not store.rows or not self._keeps(self._step):  # of a training that begins again, or that now goes on
            self._checkpoints.drop([self._step])
        self._folder.drop_evaluated_history()
        data = None if self._data is None else dataclasses.asdict(self._data)
        self._folder.change_note("training", {**self._facts(), "data": data, "finished": False})
        if not store.rows and (self._choose is None or self._step > 0):
            self._checkpoints.save(self._step, self._model)
            self._keep_moments()  # of a training that went before: the first window needs them from its begin on
        self._keep_model()

    @property
    def is_recording(self) -> bool:
        """Whether the ``with`` block is under way."""
        return self._is_recording

    @property
    def step(self) -> int:
        """Number of the last step that the optimiser took."""
        return self._recorder.step

    def note_loss(self, loss: Tensor | float) -> None:
        """Keep ``loss``, the minibatch loss of the next step; call it before ``optimizer.step()``."""
        self._recorder.note_loss(loss)

    def note_minibatches(self, batch_size: int | None, steps_per_epoch: int | None) -> None:
        """Keep what the loop knows of its minibatches; the analysis takes it before what its own data say.

        Args:
            batch_size: Samples of one step of the optimiser: on all devices, accumulated; None where it is not known.
            steps_per_epoch: Steps of the optimiser in an epoch; None where it is not known.
        """
        self._folder.change_note("training", {"batch_size": batch_size, "steps_per_epoch": steps_per_epoch})

    def flush(self) -> None:
        """Write the rows held in memory to the folder, then note how far they reach; a power cut takes neither."""
        self._recorder.flush()
        note_reach(self._folder)

    def __enter__(self) -> StudyRecorder:
        if self._is_recording:
            raise InputError(
                expected="a recorder that is entered once at a time", got="a second `with` block inside the first",
                hint="Enter it around the whole training.",
            )  # fmt: skip
        with contextlib.ExitStack() as stack:
            if self._turn is not None:
                stack.enter_context(self._turn.taken())
            stack.enter_context(self._folder.locked())
            stack.callback(self._recorder.close)
            self._begin()
            stack.callback(self._optimizer.register_step_post_hook(self._after_step).remove)
            self._entered = stack.pop_all()
        self._is_recording = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        was_recording, self._is_recording = self._is_recording, False
        with self._entered:
            self._recorder.__exit__(kind, error, traceback)
            if was_recording and kind is None and self._step and self._step % self._every == 0:
                self._keep_last_model()
            if was_recording and kind is None:
                self._folder.change_note("training", {"finished": True})
                note_whole(self._folder)

    def _keep_last_model(self) -> None:
        """Keep the model after the last step, unless its weights are no longer those of that step."""
        if self._step in self._checkpoints.steps() or not RowStore.open(self._path).rows:
            return
        rows, tensors = self._recorder.changes.last_weights(), self._recorder.space.tensors(self._model)
        pairs = zip(rows, tensors, strict=False)  # no rows where the last one is not held
        if rows and all(torch.equal(row.cpu(), tensor.detach().reshape(-1).cpu()) for row, tensor in pairs):
            self._checkpoints.save(self._step, self._model)
            self._keep_moments()

    def _about_last_model(self) -> str:
        """What follows if the weights are no longer those of the last step, whose whole model cannot be saved now."""
        kept = self._checkpoints.steps()
        if self._step % self._every or self._step in kept:
            return ""
        saved = ", ".join(map(str, kept)) or "none"
        return (
            "The whole model of that step is not saved, and a window cannot end there; it can end at the saved steps "
            f"({saved})."
        )

    def close(self) -> None:
        """Stop recording, keep the whole model of the last row, and write what is held."""
        self.__exit__(None, None, None)

    def _after_step(self, *_: object) -> None:
        if not ends_step(self._optimizer):
            return
        if not self._has_noted_modes:
            self._folder.change_note("training", {"eval_modules": modules_in_eval(self._model)})
            self._has_noted_modes = True
        self._step += 1
        if self._step % self._every == 0:
            self._keep_model()

    def _keep_model(self) -> None:
        if not self._keeps(self._step):
            return
        self.flush()  # rows first: a saved model must never be ahead of the rows
        if self._choose is None:
            self._schedule.see(self._step, self._model)
        else:
            self._checkpoints.save(self._step, self._model)
        self._keep_moments()

    def _keep_moments(self) -> None:
        """Keep what an adaptive optimiser divides its steps by, wherever the whole model is kept."""
        kept, space = self._checkpoints.steps(), self._recorder.space
        self._moments.follow(kept, self._step, self._model, self._optimizer, space)

    def _keeps(self, step: int) -> bool:
        if self._choose is None:
            return step == 0 or self._schedule.keeps(step)
        return bool(self._choose(step)) or step == 0 or step in self._always


def _check_nothing_recorded(folder: StudyFolder) -> None:
    """Raise if the folder holds rows; remove a recording of a training that failed before its first row."""
    if is_recorded(folder):
        raise StorageError(
            expected=f"a study without a recording at {folder.path}",
            got="one that holds a recording",
            hint="To continue a stopped training, pass first_step= (the number of its next step). "
            "For a new training choose another folder.",
        )
    if (folder.path / "trajectory").exists():
        shutil.rmtree(folder.path / "trajectory")


def _check_same_spacing(folder: StudyFolder, every: int, first_step: int | None) -> None:
    """Raise if the rows that stay in the folder lie further apart, or closer, than those that would follow."""
    path, noted = folder.path / "trajectory", folder.read_note("training").get("every")
    if noted in (None, every) or not path.exists():
        return
    store = RowStore.open(path)
    if store.rows and (first_step is None or int(store.read("steps", 0, 1)[0]) < first_step):
        raise other_spacing(noted, every, path)


def is_recorded(folder: ResultFolder) -> bool:
    """Whether the folder holds a recording with a row."""
    path = folder.path / "trajectory"
    return path.exists() and RowStore.open(path).rows > 0


def check_recorded(folder: ResultFolder) -> None:
    """Raise unless the folder holds a recording with a row, and every row that its training noted."""
    check_rows(folder)
    if not is_recorded(folder):
        raise InputError(
            expected=f"a recording in {folder.path}",
            got="a recording without a step" if (folder.path / "trajectory").exists() else "none",
            hint="Nothing was recorded: train inside `with study.record(optimizer):`, or call "
            "study.use_trajectory(...).",
        )
