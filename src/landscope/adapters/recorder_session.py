"""Recorders that are active while a training runs, for the callbacks of all frameworks."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import nn

from landscope._checks import check_choice, check_count, check_kind, check_path
from landscope.adapters.session import Training, TrainingSession
from landscope.errors import InputError, LandscopeError
from landscope.parameters import ParameterSpace, Selection
from landscope.recorder import TrajectoryRecorder
from landscope.recorder.tables import ENCODINGS, Encoding, check_encoding
from landscope.sharded import has_parts
from landscope.sketch import CountSketch, check_sketch
from landscope.study.following import StudyFollower
from landscope.study.recording import StudyRecorder
from landscope.study.study import Study
from landscope.trajectory import Trajectory

__all__ = ["RecorderSession", "RecordingSession", "StudySession"]


class RecordingSession(TrainingSession):
    """Records while a training runs, on the main process; of a sharded model all processes take part.

    Args:
        select: Parameters to record, see :meth:`landscope.ParameterSpace.of`.
        every: Number of steps between two recorded rows.

    Raises:
        InputError: If ``every`` is not a positive integer.
    """

    _begin_call = "train()"
    """The framework's call that begins a training."""

    def __init__(self, select: Selection | Iterable[Selection] | None, every: int) -> None:
        self._select = select if select is None or isinstance(select, str | type) else tuple(select)
        self._every = check_count("every", every, minimum=1)
        self._recorder: TrajectoryRecorder | StudyRecorder | StudyFollower | None = None

    @abc.abstractmethod
    def _recorder_of(self, training: Training) -> TrajectoryRecorder | StudyRecorder | StudyFollower:
        """A recorder of a training."""

    def _context(self, training: Training) -> contextlib.AbstractContextManager[Any]:
        self._recorder = None
        if not training.is_main_process and not has_parts(training.model):
            return contextlib.nullcontext()
        self._recorder = self._recorder_of(training)
        return self._recorder

    def _flush(self) -> None:
        """Write the rows that are held; a training that resumes from a checkpoint needs the rows before it."""
        if self._recorder is not None:
            self._recorder.flush()


class RecorderSession(RecordingSession):
    """Records a trajectory while a training runs, and gives access to the recorded rows.

    Args:
        select: Parameters to record, see :meth:`landscope.ParameterSpace.of`.
        path: Folder of the trajectory; by default the trajectory is kept in memory.
        every: Number of steps between two recorded rows.
        encoding: How the rows are stored on disk, see :class:`landscope.TrajectoryRecorder`.
        sketch: Numbers of a row in place of all weights, see :class:`landscope.TrajectoryRecorder`.

    Raises:
        InputError: If ``every`` is not a positive integer, or rows cannot be stored in this encoding or sketch.
    """

    def __init__(
        self,
        select: Selection | Iterable[Selection] | None = None,
        *,
        path: str | Path | None = None,
        every: int = 1,
        encoding: Encoding = "exact",
        sketch: int | CountSketch | None = None,
    ) -> None:
        super().__init__(select, every)
        check_encoding(encoding, path, sketch)
        if sketch is not None:
            check_sketch(sketch)
        self._path = None if path is None else check_path("path", path)
        self._encoding, self._sketch = encoding, sketch

    @property
    def space(self) -> ParameterSpace:
        """The recorded parameters."""
        return self._begun().space

    def trajectory(self) -> Trajectory:
        """The rows recorded so far.

        Returns:
            The trajectory, in memory or on disk at ``path``.

        Raises:
            InputError: If no training has begun, or no step was recorded.
        """
        return self._begun().trajectory()

    def _recorder_of(self, training: Training) -> TrajectoryRecorder:
        space = ParameterSpace.of(training.model, self._select)
        return TrajectoryRecorder(
            training.model,
            training.optimizer_for(space, training.model),
            self._select,
            path=self._path,
            every=self._every,
            first_step=training.steps_taken + 1,
            resume=training.global_step > 0 and (training.was_recorded or _exists(self._path)),
            n_steps=training.n_steps,
            encoding=self._encoding,
            sketch=self._sketch,
        )

    def _begun(self) -> TrajectoryRecorder:
        if not isinstance(self._recorder, TrajectoryRecorder):
            raise InputError(
                expected="a training that has begun on this process",
                got="none",
                hint=f"Pass this callback to Trainer(callbacks=[...]) and call {self._begin_call}; only the main "
                "process records.",
            )
        return self._recorder


def _exists(path: str | Path | None) -> bool:
    return path is not None and Path(path).exists()


class StudySession(RecordingSession):
    """Records into a study while a training runs.

    Args:
        study: Study of the trained model, or of a module inside it.
        select: Parameters to record, see :meth:`landscope.ParameterSpace.of`; their names are those of the study's
            model.
        every: Number of steps between two recorded rows.
        encoding: How the rows are stored, see :class:`landscope.TrajectoryRecorder`.

    Raises:
        InputError: If ``study`` is no study with a model, or ``every`` is not a positive integer.
    """

    def __init__(
        self,
        study: Study,
        select: Selection | Iterable[Selection] | None = None,
        *,
        every: int = 1,
        encoding: Encoding = "exact",
    ) -> None:
        super().__init__(select, every)
        check_choice("encoding", encoding, ENCODINGS)
        self._encoding: Encoding = encoding
        self.study = check_kind("the study", study, Study, hint='Pass ls.Study("folder", model, ...).')
        self._model: nn.Module = study.model

    def close(self) -> None:
        """End the session of a training that was interrupted; does nothing after a training that ended.

        The model of an interrupted step is not kept.
        """
        if self._recorder is not None:
            with contextlib.suppress(LandscopeError):
                self._recorder.__exit__(InterruptedError, None, None)
        super().close()

    def _recorder_of(self, training: Training) -> StudyRecorder | StudyFollower:
        if all(part is not self._model for part in training.model.modules()):
            raise InputError(
                expected="a model that is, or contains, the model of the study", got="another model",
                hint="Make the study from the same model object that is trained.",
            )  # fmt: skip
        optimizer = training.optimizer_for(ParameterSpace.of(self._model, self._select), self._model)
        first_step = training.steps_taken + 1 if training.global_step > 0 else None
        recorder = self.study.record(
            optimizer,
            self._select,
            every=self._every,
            first_step=first_step,
            n_steps=training.n_steps,
            encoding=self._encoding,
        )
        recorder.note_minibatches(training.batch_size, training.steps_per_epoch)
        return recorder
