"""What the stages of an analysis share: the recording, its windows, the landscape at w0, and the results so far."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from landscope._names import BatchNorm
from landscope.errors import InputError, StorageError
from landscope.law.exponents import Exponents
from landscope.law.spectrum import ranks_like_the_paper
from landscope.parameters import ParameterSpace
from landscope.protocols import Ensemble, ProgressCallback, silent
from landscope.results import Result
from landscope.risk import EmpiricalRisk, MinibatchRisk
from landscope.study import saved
from landscope.study.batch_norm_caveat import batch_norm_caveat
from landscope.study.centre import centre_caveat, model_at_centre
from landscope.study.checkpoints import Checkpoints
from landscope.study.data_identity import DataIdentity
from landscope.study.few_samples import SECOND_DERIVATIVES, without_second_derivatives
from landscope.study.folder import StudyFolder
from landscope.study.parts import NEEDS, Need, Part
from landscope.study.recording import check_recorded
from landscope.study.remedies import is_run
from landscope.study.result_words import needed
from landscope.study.saved import Saved
from landscope.study.settings import StudySettings
from landscope.study.steps_caveat import steps_caveat
from landscope.study.subject import Subject
from landscope.study.training_facts import TrainingFacts, training_facts
from landscope.study.windows import Windows, choose_windows
from landscope.training_history import TrainingHistory
from landscope.trajectory import Trajectory, open_trajectory
from landscope.trajectory.rounding import encoding_caveat, rounding_caveat
from landscope.trajectory.spacing import spacing_caveat, unevenness

if TYPE_CHECKING:
    from landscope.study.workers import StudyWorkers

__all__ = ["Analysis"]

_MIN_CHECKPOINTS = 3
_SEVERAL_RATES = (
    "one learning rate: the recorded weights are in parameter groups that differ; select those of one group"
)
_RATE_CHANGE = 0.1
"""A learning rate that changed by more than this share of its mean is named."""
AnyResult = TypeVar("AnyResult", bound=Result)


def check_constant_rate(trajectory: Trajectory) -> float:
    """The learning rate of a trajectory.

    Raises:
        InputError: If it is not known, not one number for all weights, or not constant.
    """
    rates, mean = trajectory.learning_rate, mean_rate(trajectory)
    if math.isnan(mean) or float(rates.max() - rates.min()) > _RATE_CHANGE * mean:
        raise InputError(
            expected="one learning rate for all weights in the training that goes on, the same at every step",
            got="none, or several" if math.isnan(mean) else f"{float(rates.min()):g} to {float(rates.max()):g}",
            hint="Let train_on use one parameter group and no schedule.",
        )
    return mean


def _first_known(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def mean_rate(trajectory: Trajectory) -> float:
    """The mean learning rate of a trajectory; NaN where a row has none."""
    rates = trajectory.learning_rate
    return float(rates[0]) if bool((rates == rates[0]).all()) else float(rates.mean())


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
        self.shared: dict[str, Any] = {}  # what one part leaves for the next, within a process
        self.workers: StudyWorkers | None = None  # None: this process does all

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

    @property
    def has_subject(self) -> bool:
        """Whether the study was opened with its model, so that what is missing can be computed."""
        return self._subject is not None

    @functools.cached_property
    def data_identity(self) -> DataIdentity:
        """What tells the data from others, of a few samples."""
        return self.subject.data_identity

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
        """The loss landscape of the recorded weights at w0, with the whole model there.

        Raises:
            StorageError: If the saved model is not the one that was recorded.
        """
        risk = self.subject.risk(model_at_centre(self), self.space, batch_norm=self.settings.batch_norm)
        if self.settings.w0 == "last" and not self.window.holds(-1, risk.w0):
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
    def spectrum_ranks(self) -> tuple[int, int]:
        """Ranks of the power law of the spectrum: from the settings, or in proportion to the modes of the window."""
        return self.settings.spectrum_ranks or ranks_like_the_paper(min(len(self.window) - 1, self.window.dim))

    @property
    def batch_size(self) -> int | None:
        """Samples in a minibatch: from the settings, the training itself, or the data; None if unknown."""
        return _first_known(self.settings.batch_size, self.facts.batch_size, self.data_batch_size)

    @property
    def steps_per_epoch(self) -> int | None:
        """Optimiser steps in an epoch: from the settings, the training itself, or the data; None if unknown."""
        return _first_known(self.settings.steps_per_epoch, self.facts.steps_per_epoch, self.data_steps_per_epoch)

    @property
    def data_batch_size(self) -> int | None:
        """Samples in a minibatch of the data, where they say so or did when they were there."""
        own = self._subject.batch_size if self._subject is not None else None
        return _first_known(own, self.facts.data_batch_size)

    @property
    def data_steps_per_epoch(self) -> int | None:
        """Minibatches of the training's size in an epoch of the data, where they say so or did when they were there."""
        own = self._subject.batches_in_an_epoch(self.batch_size) if self._subject is not None else None
        return _first_known(own, self.facts.data_steps_per_epoch)

    @property
    def rows_per_epoch(self) -> int | None:
        """Recorded rows in an epoch, where known."""
        return None if self.steps_per_epoch is None else max(1, self.steps_per_epoch // self.facts.every)

    @property
    def learning_rate(self) -> float:
        """Learning rate alpha: the mean over the window; NaN where it is not known or not one number."""
        return self.facts.learning_rate if self._has_no_rates else mean_rate(self.window)

    @property
    def rates_of_window(self) -> tuple[float, float]:
        """Smallest and largest learning rate of the window and of the next row; NaN where they are not known."""
        if self._has_no_rates:
            return self.facts.learning_rate, self.facts.learning_rate
        steps, rates = self.recorded.steps, self.recorded.learning_rate
        last = int(torch.searchsorted(steps, int(self.window.steps[-1])))
        first = int(torch.searchsorted(steps, int(self.window.steps[0])))
        near = rates[first : last + 2]
        return float(near.min()), float(near.max())

    @property
    def rates_at_checkpoints(self) -> Tensor:
        """Learning rate alpha at the step of each saved whole model, or at the first recorded step after it."""
        steps = torch.tensor(self.checkpoints.steps())
        if self._has_no_rates:
            return torch.full((len(steps),), self.facts.learning_rate, dtype=torch.float64)
        rows = torch.searchsorted(self.recorded.steps, steps).clamp(max=len(self.recorded) - 1)
        return self.recorded.learning_rate[rows]

    @property
    def has_every_rate(self) -> bool:
        """Whether every row of the window has its learning rate."""
        return not bool(torch.isnan(self.window.learning_rate).any())

    @property
    def _has_no_rates(self) -> bool:
        """Whether the rows say nothing of the learning rate, as those of an imported recording."""
        return bool(torch.isnan(self.recorded.learning_rate).all())

    @property
    def rate_caveat(self) -> str:
        """What to know of alpha where it was not constant in the window; empty where it was."""
        rates = self.window.learning_rate
        low, high, mean = float(rates.min()), float(rates.max()), self.learning_rate
        if not high - low > _RATE_CHANGE * mean:  # NaN too
            return ""
        first, last = float(rates[0]), float(rates[-1])
        beyond = "" if {first, last} == {low, high} else f" ({low:g} to {high:g})"
        return f"the learning rate went from {first:g} to {last:g} in the window{beyond}; alpha is its mean, {mean:g}"

    @property
    def caveats(self) -> list[str]:
        """What to know of the recording before reading the numbers that it gave."""
        rounding, spectrum = self.load_if_there(saved.ROUNDING), self.load_if_there(saved.SPECTRUM)
        found = (
            self.rate_caveat, spacing_caveat(self.window.steps), centre_caveat(self.settings.w0),
            rounding_caveat(rounding) if rounding else "", steps_caveat(self.folder), self._data_caveat,
            encoding_caveat(self.window, spectrum.variance) if spectrum else "", self._batch_norm_caveat,
        )  # fmt: skip
        return [caveat for caveat in found if caveat]

    @property
    def _batch_norm_caveat(self) -> str:
        """What to know of the loss where layers normalise over minibatches; empty where none does."""
        if self.windows.step not in self.checkpoints.steps():
            return ""
        names, note = self.checkpoints.tensor_names(self.windows.step), self.folder.read_note("training")
        return batch_norm_caveat(names, note.get("eval_modules", ()), self.settings.batch_norm)

    @property
    def _data_caveat(self) -> str:
        """What to know of the data with which the flatness was measured; empty where they are always the same."""
        if not self.has(saved.FLATNESS):
            return ""
        data = DataIdentity.of(self.folder.made_with_of(saved.FLATNESS.name).get("data"))
        return f"the loss is that of one draw of the data: {data.unknown}" if data.is_random else ""

    @functools.cached_property
    def ensemble(self) -> MinibatchRisk:
        """The minibatch losses at w0, in a random partition of the data."""
        return self.ensemble_of(self.risk)

    def ensemble_of(self, risk: EmpiricalRisk) -> MinibatchRisk:
        """The minibatch losses of a landscape; the batches of the loader, if their samples cannot be told apart."""
        assert self.batch_size is not None  # noqa: S101 - parts that use it need it
        try:
            return risk.minibatches(self.batch_size, seed=self.settings.seed)
        except InputError:
            if self.subject.losses is None or self.subject.batch_size != self.batch_size:
                raise
            return risk.minibatches(None)

    def ensembles_at_checkpoints(self) -> Iterator[tuple[int, Ensemble, Tensor]]:
        """Step, minibatch losses and weights of each saved whole model."""
        for step in self.checkpoints.steps():
            risk = self.risk_at(step)
            yield step, self.ensemble_of(risk), risk.w0

    def load(self, result: Saved[AnyResult]) -> AnyResult:
        """Read a result of the study."""
        if not self.has(result):
            check_recorded(self.folder)  # where nothing was recorded, that is what is missing
        return self.folder.load(result.name, result.kind)

    def load_if_there(self, result: Saved[AnyResult]) -> AnyResult | None:
        """Read a result of the study; None where it was not made."""
        return self.load(result) if self.has(result) else None

    def has(self, result: Saved[Any]) -> bool:
        """Whether a result of the study was made."""
        return self.folder.has(result.name)

    @property
    def nulls(self) -> list[Exponents]:
        """The exponents of the shuffled increments that were made."""
        return [self.folder.load(name, Exponents) for name in self.folder.names(saved.SHUFFLED)]

    @property
    def processes(self) -> list[Exponents]:
        """The exponents of the finite-window processes that were made, along their own modes."""
        return [self.folder.load(name, Exponents) for name in self.folder.names(saved.PROCESS)]

    @property
    def processes_fresh(self) -> list[Exponents]:
        """Their exponents along the same modes, in their next windows."""
        return [self.folder.load(name, Exponents) for name in self.folder.names(saved.PROCESS_FRESH)]

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
        if need == "even_rows":
            return bool(unevenness(self.window.steps))
        if need == "learning_rate":
            return math.isnan(self.learning_rate)
        if need == "history":
            return self.history is None
        if need in SECOND_DERIVATIVES:
            return need in self._without_second_derivatives
        offered = {"evaluate": subject and subject.evaluate, "train_on": subject and subject.train_on}
        return offered[need] is None

    @functools.cached_property
    def _without_second_derivatives(self) -> frozenset[Need]:
        """Needs that the loss does not meet, because torch has no second derivative of a part of it."""
        recorded = (self.folder.path / "trajectory").exists()
        return without_second_derivatives(self._subject, self.space if recorded else None)

    def reason_against(self, part: Part) -> str:
        """Why a part cannot be made, in words; empty where it can."""
        for need in part.needs:
            if self.lacks(need):
                several = need == "learning_rate" and self.facts.groups_differ
                return f"needs {_SEVERAL_RATES if several else NEEDS[need]}"
        missing = [result.name for result in part.after if not self.has(result)]
        reasons = self.folder.read_note("not-measured")
        return next((reasons.get(name) or needed(name, is_run=is_run(self.folder.path)) for name in missing), "")
