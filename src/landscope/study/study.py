"""Study: a folder for one training run of anybody's model; recording, resumable analysis, results, page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from landscope._checks import check_path
from landscope._names import BatchNorm
from landscope.errors import InputError
from landscope.parameters import ParameterSpace, Selection
from landscope.processes import in_first_process
from landscope.progress import Reporter, StageCallback, reporter_of
from landscope.recorder.tables import Encoding
from landscope.risk import EmpiricalRisk
from landscope.study.analysis import Analysis
from landscope.study.centre import keep_centre, named_centre
from landscope.study.changed import notice_changes
from landscope.study.data_facts import keep_facts
from landscope.study.folder import StudyFolder
from landscope.study.following import StudyFollower, check_is_whole, recorder_in_turn
from landscope.study.importing import import_checkpoints, import_trajectory
from landscope.study.page import write_page
from landscope.study.parts import Stage
from landscope.study.pipeline import run_stages
from landscope.study.recording import StudyRecorder
from landscope.study.sealed_page import digest_of_page
from landscope.study.stage_table import StageTable, stage_table
from landscope.study.stages import chosen_stages
from landscope.study.stages.noise import OF_HISTORY
from landscope.study.study_results import StudyResults
from landscope.study.subject import Evaluate, Subject
from landscope.study.subject_checks import check_batch_size
from landscope.study.train_on import TrainOn
from landscope.study.workers import Workers, checked_workers, shared_with
from landscope.training_history import TrainingHistory
from landscope.trajectory import Trajectory
from landscope.trajectory.checkpoint_files import find_checkpoints

__all__ = ["Study"]


class Study(StudyResults):
    """A folder for one training run: what was recorded, every result, resumable stages, figures and page.

    A folder that exists is opened. Without a model, saved results can be read, drawn and reported.

    Args:
        path: The folder.
        model: The model; it is copied when it is measured and never changed.
        criterion: ``criterion(outputs, targets)``, see :class:`landscope.EmpiricalRisk`; None with ``losses``, or for
            the loss that the model itself computes, ``model(**batch).loss``.
        data: The training data: ``(inputs, targets)``, a Dataset, or a DataLoader.
        losses: ``losses(model, batch)`` in place of a criterion: per-sample losses, or ``(sum, count)``.
        loss_options: ``count``, ``seed`` and ``mode`` of :meth:`landscope.EmpiricalRisk.from_closure`, as a mapping.
        evaluate: ``evaluate(model)`` gives any of train_loss, train_error, test_loss, test_error and margin, as a
            mapping. It is called for every saved whole model, in eval mode and without gradients. Without it errors
            are not measured.
        train_on: Trains on from the end of the window, for some controls; see :class:`landscope.study.TrainOn`.
        **settings: Settings of the analysis, see :class:`landscope.study.StudySettings`: ``window``, ``fresh``,
            ``w0``, ``fit_modes``, ``n_nulls``, ``batch_size``, ``steps_per_epoch``, ``seed`` and others. They may
            change until the first result is saved.

    Raises:
        InputError: If the model, the loss, the data or a setting do not fit.
        StorageError: If the folder holds something else, or results under other settings.

    Example:
        >>> import tempfile, torch
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> inputs, targets = torch.randn(64, 4), torch.randint(2, (64,))
        >>> criterion, optimizer = torch.nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=0.1)
        >>> study = Study(tempfile.mkdtemp() + "/mine", model, criterion, (inputs, targets), n_nulls=1)
        >>> with study.record(optimizer, select="2.weight"):
        ...     for step in range(200):
        ...         batch = torch.randint(64, (8,))
        ...         optimizer.zero_grad()
        ...         criterion(model(inputs[batch]), targets[batch]).backward()
        ...         optimizer.step()
        >>> study.analyse(progress=False)
        >>> study.modes.directions.shape, study.window.steps[[0, -1]].tolist(), study.report().name
        (torch.Size([16, 16]), [151, 200], 'report.html')
    """

    def __init__(
        self,
        path: str | Path,
        model: nn.Module | None = None,
        criterion: Callable[..., Any] | None = None,
        data: Any = None,
        *,
        losses: Callable[[nn.Module, Any], Any] | None = None,
        evaluate: Evaluate | None = None,
        train_on: TrainOn | None = None,
        loss_options: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        parts = criterion, losses, data, evaluate, train_on
        if model is None and any(part is not None for part in parts):
            raise InputError(expected="a model with its loss and data", got="no model", hint="Pass the model second.")
        self._subject = None if model is None else Subject(model, *parts, {} if loss_options is None else loss_options)
        if self._subject is None:
            StudyFolder.open(path)  # a new study needs a model
        else:
            check_batch_size(self._subject.data, settings.get("batch_size"))
        centre = named_centre(settings, self._subject, check_path("the folder of a study", path))
        in_first_process(f"the begin of {Path(path).absolute()}", lambda: self._make_folder(path, settings, centre))
        self.folder = StudyFolder.open(path)
        self._recorder: StudyRecorder | StudyFollower | None = None
        self._begin()

    def _make_folder(self, path: str | Path, settings: dict[str, Any], centre: Any) -> None:
        folder = StudyFolder.create(path, settings) if self._subject or settings else StudyFolder.open(path)
        keep_centre(folder, centre)

    def _begin(self) -> None:
        """Forget what was read of the folder."""
        self._read, self._read_at = Analysis(self.folder, self._subject), self._moment()

    def _moment(self) -> tuple[int, bool] | None:
        return None if self._recorder is None else (self._recorder.step, self._recorder.is_recording)

    @property
    def _analysis(self) -> Analysis:
        """The analysis of what the folder holds now: a training that goes on adds rows and models."""
        if self._read_at != self._moment():
            self._begin()
        return self._read

    def __getstate__(self) -> dict[str, Any]:
        """A copy opens the same folder with a copy of the model; a recording stays with the original."""
        return {"folder": self.folder, "_subject": self._subject, "_recorder": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    def __repr__(self) -> str:
        done = ", ".join(self.folder.timings()) or "nothing analysed yet"
        return f"Study({str(self.path)!r}: {done})"

    @property
    def stages(self) -> StageTable:
        """What each stage can make with what the study has now, and what to add for the rest.

        Look at it when the study is made: it tells at once that there will be no dynamics without ``train_on``, for
        example. Once a training is recorded, it knows the optimiser too.
        """
        return stage_table(self._analysis)

    @property
    def path(self) -> Path:
        """The folder."""
        return self.folder.path

    @property
    def model(self) -> nn.Module:
        """The model.

        Raises:
            InputError: If the study was opened without it.
        """
        return self._analysis.subject.model

    def record(
        self,
        optimizer: torch.optim.Optimizer,
        select: Selection | Iterable[Selection] | None = None,
        *,
        every: int = 1,
        first_step: int | None = None,
        n_steps: int | None = None,
        encoding: Encoding = "exact",
        checkpoints: Callable[[int], bool] | None = None,
    ) -> StudyRecorder | StudyFollower:
        """Record a training: the selected weights after every step, the whole model at some steps and at window ends.

        A study needs the weights themselves: only a :class:`landscope.TrajectoryRecorder` records sketches of them.

        Args:
            optimizer: The optimiser that trains the study's model.
            select: Parameters whose weights are kept at every step, see :meth:`landscope.ParameterSpace.of`.
            every: Steps between two rows.
            first_step: To continue a stopped training: number of its next step. Rows and models from that step on are
                removed when the ``with`` begins, and recorded again.
            n_steps: Steps that will be recorded, where that is known: when the ``with`` begins, the bytes of their rows
                are compared with the free room on the disk.
            encoding: ``"exact"``, or ``"delta-int8"`` for one byte a weight and row, see
                :class:`landscope.TrajectoryRecorder`.
            checkpoints: ``checkpoints(step) -> bool`` chooses the steps of whole models in place of 10 to 20
                evenly spaced ones (fewer where these take more than 2 GiB). The model of the begin is always kept.

        Returns:
            A context manager; train inside its ``with``. When you save a checkpoint of your own, call its ``flush()``:
            rows in memory are lost when the process is killed.

        Raises:
            InputError: If the study has no model, the loss cannot be evaluated on some first samples of the data, or
                the optimiser lacks selected parameters that require a gradient. When the ``with`` begins, if the model
                is not the one of the row before ``first_step``.
            NondeterministicLossError: If the loss of these samples differs between two evaluations.
            StorageError: If the folder holds a recording and ``first_step`` is not given, or results of one, or another
                process works on the study. When the ``with`` begins, if the rows of ``n_steps`` do not fit on the disk.

        Warns:
            LandscopeWarning: If no selected parameter requires a gradient, or the weights changed between two steps or
                after the last one, as by clipping: rows and whole models hold the weights right after a step.
        """
        subject = self._analysis.subject
        check_is_whole(subject.model)
        self._check_not_recording("record()", "Enter it once, around the whole training.")
        self.folder.check_no_results()
        space = ParameterSpace.of(subject.model, select)
        subject.check_loss(space, batch_norm=self.folder.settings.batch_norm)
        spans = self.folder.settings.window, self.folder.settings.fresh
        ends = [span[1] for span in spans if isinstance(span, tuple)]
        self._recorder = recorder_in_turn(self.path, optimizer, first_step, lambda turn: StudyRecorder(
            self.folder, subject.model, optimizer, space, every=every, first_step=first_step,
            resume=first_step is not None, n_steps=n_steps, encoding=encoding, checkpoints=checkpoints,
            always=tuple(ends), data=subject.data_identity, turn=turn,
        ))  # fmt: skip
        self._begin()
        return self._recorder

    def _check_not_recording(self, call: str, hint: str) -> None:
        if self._recorder is not None and self._recorder.is_recording:
            raise InputError(
                expected="a training that has ended", got=f"{call} inside `with study.record(...)`",
                hint=f"{hint} After a Trainer that failed, call close() of its callback first.",
            )  # fmt: skip

    def use_trajectory(self, trajectory: Trajectory | str | Path) -> None:
        """Take a recording that exists already; the study's model must be the one at its last row.

        Args:
            trajectory: The recording, or the folder of one.

        Raises:
            InputError: If the recording does not name its parameters, or its last row is not in the study's model.
            StorageError: If the study holds a recording or results already.
        """
        self.folder.check_no_results()
        self._alone("taking rows", lambda: import_trajectory(self.folder, self._analysis.subject.model, trajectory))

    def use_checkpoints(
        self,
        checkpoints: str | Path | Iterable[Any] | Mapping[int, Any],
        select: Selection | Iterable[Selection] | None = None,
        *,
        steps: Sequence[int] | None = None,
        steps_per_epoch: int | None = None,
    ) -> None:
        """Take whole models that a training has saved, see :meth:`landscope.Trajectory.from_checkpoints`.

        Where the study has no recording, the checkpoints become its rows.

        Args:
            checkpoints: A folder; files, folders or state dicts in order; or ``{step: checkpoint}``.
            select: Parameters that become the rows.
            steps: Step of each checkpoint of a list.
            steps_per_epoch: Optimiser steps in an epoch, where the names of the files count epochs.

        Raises:
            InputError: If a checkpoint does not fit the study's model, or its step is not known.
            StorageError: If a file cannot be read, the study holds results already, or it has another model or other
                weights at one of the steps.
        """
        self.folder.check_no_results()
        found = find_checkpoints(checkpoints, steps, steps_per_epoch)
        self._alone("taking models", lambda: import_checkpoints(self.folder, self._analysis.subject, found, select))

    def _alone(self, what: str, work: Callable[[], None]) -> None:
        """Do what writes to the folder; of several processes that train together one does it, and the others wait."""
        in_first_process(f"{what}, {self.path.absolute()}", work)
        self._begin()

    def analyse(
        self,
        *,
        noise: bool = False,
        controls: bool = False,
        dynamics: bool = False,
        until: str | None = None,
        jobs: int = 1,
        executor: str = "processes",
        progress: bool | StageCallback | Reporter | None = None,
    ) -> None:
        """Make every result that is missing: modes, flatness, and the law with its nulls.

        A stopped analysis continues where it was and ends with the same bits.

        Args:
            noise: Measure the minibatch noise too.
            controls: Measure the controls too: other directions, surrogates, one window corrected, equilibrium.
            dynamics: Measure the dynamics too: trainings that go on, restoring force, response, edge of stability.
            until: Last stage to make, with every stage before it: modes, flatness, law, noise, controls, dynamics.
            jobs: Workers of one thread that share the flatness of the directions and, where this process has one thread
                too (``torch.set_num_threads(1)``), the draws of the nulls. The results are the same bits.
            executor: ``"processes"`` of this machine; ``"ray"`` or ``"dask"`` for workers of such a cluster here; with
                an address for another, such as ``"ray:auto"`` or ``"dask:tcp://head:8786"``.
            progress: True for bars, False for silence, or a callback ``(stage, done, total)``; bars by default.

        Raises:
            InputError: If nothing was recorded, the ``with`` of the recording is under way, the model and data do not
                fit, or ``noise``, ``controls`` or ``dynamics`` come after ``until``. Before anything is made, if four
                steps of ``train_on`` are not by the rule of the recorded training.
            StorageError: If another process works on the study, or a result is damaged.

        Warns:
            LandscopeWarning: If the loss, the data, ``evaluate`` or ``train_on`` are not those with which results were
                made; these results are deleted, and made again.
        """
        stages = chosen_stages(until, noise=noise, controls=controls, dynamics=dynamics)
        workers = checked_workers(jobs, executor)
        self._check_not_recording("analyse()", "Call it after the with block.")
        reporter = progress if isinstance(progress, Reporter) else reporter_of(progress)
        self._alone("the analysis", lambda: self._run(stages, reporter, workers))

    def _run(self, stages: Sequence[Stage], reporter: Reporter, workers: Workers | None) -> None:
        with self.folder.locked(), shared_with(workers, self._analysis) as sharing:
            for name in self.folder.drop_damaged_notes():
                reporter.note(f"[yellow]{name} is made again:[/yellow] the file is damaged")
            if keep_facts(self._analysis):
                self._begin()
            for outlook in stage_table(self._analysis, stages):
                for sentence in outlook.sentences:
                    reporter.note(f"{outlook.stage}: {sentence}")
            if notice_changes(self._analysis, stages, reporter):
                self._begin()
            self._analysis.workers = sharing
            try:
                run_stages(self._analysis, stages, reporter)
            finally:
                self._analysis.workers = None

    def discard_results(self) -> None:
        """Delete every result of the analysis; the recording and the whole models stay."""
        self._alone("discarding results", self.folder.drop_results)

    def save_history(self, history: TrainingHistory) -> None:
        """Keep a ``history`` of losses and errors of the training; results made of an earlier one are deleted."""
        self.folder.drop_evaluated_history()
        for name in OF_HISTORY:
            self.folder.remove(name)
        self.folder.save("training", history)

    def risk(
        self,
        step: int | None = None,
        select: Selection | Iterable[Selection] | None = None,
        *,
        batch_norm: BatchNorm | None = None,
    ) -> EmpiricalRisk:
        """The loss landscape at a saved whole model, with its own buffers.

        Args:
            step: A step with a saved model; the end of the window by default.
            select: Parameters that are the coordinates; the recorded ones by default.
            batch_norm: Statistics of batch normalisation; those of the settings by default.

        Raises:
            InputError: If no model was saved at that step, or the study was opened without a model.
        """
        analysis = self._analysis
        if step is None and select is None and batch_norm is None:
            return analysis.risk
        space = None if select is None else ParameterSpace.of(analysis.subject.model, select)
        return analysis.risk_at(analysis.windows.step if step is None else step, space, batch_norm)

    def report(
        self, *, title: str | None = None, facts: Iterable[tuple[str, str]] = (), settings: str | None = None
    ) -> Path:
        """Write ``report.html`` into the folder: one file that works offline.

        Args:
            title: Title of the page; the name of the folder by default.
            facts: Lines to add to the table of what was trained.
            settings: Text of the settings to show; those of the study by default.

        Returns:
            Path of the page.

        Raises:
            StorageError: If the stages modes, flatness and law are not done.
        """
        self._alone("the page", lambda: self._write(title or f"landscope: {self.path.name}", list(facts), settings))
        return self.path / "report.html"

    def _write(self, title: str, facts: list[tuple[str, str]], settings: str | None) -> None:
        summary = self.summary()
        page = write_page(self._analysis, title, facts, settings)
        self.folder.note("summary", {**summary, "page": digest_of_page(page)})
