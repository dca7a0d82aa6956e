"""What the stages of an analysis share: the recording, its windows, the landscape at w0, and the results so far."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

from landscope._names import BatchNorm
from landscope.errors import InputError, StorageError
from landscope.law.exponents import Exponents
from landscope.parameters import ParameterSpace
from landscope.protocols import Ensemble, ProgressCallback, silent
from landscope.results import Result
from landscope.risk import EmpiricalRisk
from landscope.study import saved
from landscope.study.checkpoints import Checkpoints
from landscope.study.folder import StudyFolder
from landscope.study.parts import NEEDS, Need, Part
from landscope.study.recording import TrainingFacts, check_recorded, training_facts
from landscope.study.saved import Saved
from landscope.study.settings import StudySettings
from landscope.study.subject import Subject
from landscope.study.windows import Windows, choose_windows
from landscope.training_history import TrainingHistory
from landscope.trajectory import Trajectory, open_trajectory

__all__ = ["Analysis"]

_MIN_CHECKPOINTS = 3
AnyResult = TypeVar("AnyResult", bound=Result)


class Analysis:
    """One analysis of a study.

    Args:
        folder: The study's folder.
        subject: The model with its loss and data; None where only saved results are read.
    """

    progress: ProgressCallback = staticmethod(silent)
    """Called by the part that is being made, with what is done and the total."""

    def __init__(self, folder: StudyFolder, subject: Subject | None) -> None:
        self.folder, self._subject = folder, subject

    @property
    def settings(self) -> StudySettings:
        """Settings of the study."""
        return self.folder.settings

    @property
    def subject(self) -> Subject:
        """The model with its loss and data.

        Raises:
            InputError: If the study was opened without them.
        """
        if self._subject is None:
            raise InputError(
                expected="the model, its loss and its data, to compute what is missing",
                got="a study that was opened by its folder alone",
                hint='Pass ls.Study("folder", model, criterion, data); on the command line --study module:function.',
            )
        return self._subject

    @functools.cached_property
    def facts(self) -> TrainingFacts:
        """What is known of the training."""
        return training_facts(self.folder)

    @functools.cached_property
    def recorded(self) -> Trajectory:
        """All recorded rows."""
        check_recorded(self.folder)
        return open_trajectory(self.folder.path / "trajectory")

    @functools.cached_property
    def checkpoints(self) -> Checkpoints:
        """The saved whole models."""
        return Checkpoints(self.folder.path / "checkpoints")

    @functools.cached_property
    def windows(self) -> Windows:
        """The window and the fresh data."""
        return choose_windows(self.recorded, self.checkpoints.steps(), self.settings)

    @property
    def window(self) -> Trajectory:
        """Rows in which the modes are found."""
        return self.windows.window

    @property
    def fresh(self) -> Trajectory:
        """Rows of the fresh data."""
        fresh = self.windows.fresh
        assert fresh is not None  # noqa: S101 - parts that use it need it
        return fresh

    @property
    def space(self) -> ParameterSpace:
        """The recorded parameters."""
        space = self.recorded.space
        if space is None:
            raise StorageError(
                expected="a recording that names its parameters", got="one without", hint="Record it again."
            )
        return space

    @functools.cached_property
    def risk(self) -> EmpiricalRisk:
        """The loss landscape of the recorded weights at w0, the end of the window, with the whole model of that step.

        Raises:
            StorageError: If the saved model is not the one that was recorded.
        """
        risk = self.risk_at(self.windows.step)
        if not torch.equal(risk.w0.cpu(), self.window.row(-1).to(risk.w0.dtype).cpu()):
            raise StorageError(
                expected=f"the last recorded weights of the window in {self.checkpoints.file(self.windows.step)}",
                got="other weights",
                hint="The recording and the saved model are of different trainings; record again.",
            )
        return risk

    def risk_at(
        self, step: int, space: ParameterSpace | None = None, batch_norm: BatchNorm | None = None
    ) -> EmpiricalRisk:
        """The loss landscape at a saved whole model, of the recorded weights or of others."""
        model = self.model_at(step)
        return self.subject.risk(model, space or self.space, batch_norm=batch_norm or self.settings.batch_norm)

    def model_at(self, step: int) -> torch.nn.Module:
        """A copy of the model with the parameters and buffers of a saved step."""
        model = self.subject.copy()
        self.checkpoints.load(step, model)
        return model

    @property
    def batch_size(self) -> int | None:
        """Samples in a minibatch of the training, where known."""
        if self.settings.batch_size is not None:
            return self.settings.batch_size
        own = self._subject.batch_size if self._subject is not None else None
        return own if own is not None else self.facts.batch_size

    @property
    def steps_per_epoch(self) -> int | None:
        """Optimiser steps in an epoch, where known."""
        if self.settings.steps_per_epoch is not None:
            return self.settings.steps_per_epoch
        own = self._subject.batches_in_an_epoch(self.batch_size) if self._subject is not None else None
        return own if own is not None else self.facts.steps_per_epoch

    @property
    def rows_per_epoch(self) -> int | None:
        """Recorded rows in an epoch, where known."""
        return None if self.steps_per_epoch is None else max(1, self.steps_per_epoch // self.facts.every)

    @property
    def learning_rate(self) -> float:
        """Learning rate alpha over the window: the one of its last step, or of the start of the recording."""
        rate = float(self.window.learning_rate[-1])
        return self.facts.learning_rate if math.isnan(rate) else rate

    @functools.cached_property
    def ensemble(self) -> Ensemble:
        """The minibatch losses at w0, in a random partition of the data."""
        return self.ensemble_of(self.risk)

    def ensemble_of(self, risk: EmpiricalRisk) -> Ensemble:
        """The minibatch losses of a landscape."""
        assert self.batch_size is not None  # noqa: S101 - parts that use it need it
        return risk.minibatches(self.batch_size, seed=self.settings.seed)

    def ensembles_at_checkpoints(self) -> Iterator[tuple[int, Ensemble, Tensor]]:
        """Step, minibatch losses and weights of each saved whole model."""
        for step in self.checkpoints.steps():
            risk = self.risk_at(step)
            yield step, self.ensemble_of(risk), risk.w0

    def load(self, result: Saved[AnyResult]) -> AnyResult:
        """Read a result of the study."""
        return self.folder.load(result.name, result.kind)

    def load_if_there(self, result: Saved[AnyResult]) -> AnyResult | None:
        """Read a result of the study; None where it was not made."""
        return self.load(result) if self.has(result) else None

    def has(self, result: Saved[Any]) -> bool:
        """Whether a result of the study was made."""
        return self.folder.has(result.name)

    def save(self, result: Saved[AnyResult], value: AnyResult) -> None:
        """Keep a result of the study."""
        self.folder.save(result.name, value)

    @property
    def nulls(self) -> list[Exponents]:
        """The exponents of the shuffled increments that were made."""
        return [self.folder.load(name, Exponents) for name in self.folder.names(saved.SHUFFLED)]

    @property
    def history(self) -> TrainingHistory | None:
        """Losses and errors during the training, where they were kept or measured."""
        return self.load_if_there(saved.TRAINING)

    def lacks(self, need: Need) -> bool:
        """Whether something that parts need is not there."""
        subject = self._subject
        if need == "fresh":
            return self.windows.fresh is None
        if need == "minibatches":
            return self.batch_size is None
        if need == "epochs":
            return self.steps_per_epoch is None
        if need == "checkpoints":
            return len(self.checkpoints.steps()) < _MIN_CHECKPOINTS
        if need == "learning_rate":
            return math.isnan(self.learning_rate)
        if need == "history":
            return self.history is None
        offered = {"evaluate": subject and subject.evaluate, "train_on": subject and subject.train_on}
        return offered[need] is None

    def reason_against(self, part: Part) -> str:
        """Why a part cannot be made, in words; empty where it can."""
        for need in part.needs:
            if self.lacks(need):
                return f"needs {NEEDS[need]}"
        missing = [result.name for result in part.after if not self.has(result)]
        reasons = self.folder.read_note("not-measured")
        return next((reasons.get(name, f"needs {name}") for name in missing), "")
