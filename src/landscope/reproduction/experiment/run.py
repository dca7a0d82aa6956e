"""One training of a built-in network and its study, with the same stages and page as the study of any model."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from landscope.errors import StorageError
from landscope.progress import Reporter
from landscope.reproduction.experiment.experiment import Experiment
from landscope.reproduction.experiment.finished import (
    drop_training,
    put_study_settings,
    reason_to_train_again,
    restore_settings,
)
from landscope.reproduction.experiment.folder import ExperimentFolder, Purpose
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.experiment.train import START, train_run
from landscope.reproduction.experiment.training import evaluate, train
from landscope.study import Study
from landscope.study.folder import StudyFolder
from landscope.study.settings import StudySettings, checked_settings
from landscope.threads import one_thread

__all__ = ["ExperimentRun"]


class ExperimentRun(ExperimentFolder):
    """A built-in network, its training, and the study of it. Make one with :meth:`create` or :meth:`open`.

    Args:
        path: Folder of the study.
        settings: Settings of the training and of the analysis.
    """

    @classmethod
    def create(cls, path: str | Path, settings: Settings, purpose: Purpose = "run") -> ExperimentRun:
        """Create a run, or open the run in the folder if it has the same settings.

        Raises:
            StorageError: If the folder holds a run under other settings or other files, or cannot be written.
        """
        restore_settings(Path(path))
        super().create(path, settings, purpose)
        StudyFolder.create(path, settings.analysis)
        return cls(Path(path), settings)

    @classmethod
    def open(cls, path: str | Path, purpose: Purpose = "run") -> ExperimentRun:
        """Open the run in a folder.

        Raises:
            StorageError: If there is none, or it is damaged or of another version.
        """
        restore_settings(Path(path))
        folder = super().open(path, purpose)
        StudyFolder.open(path)
        return cls(Path(path), folder.settings)

    @functools.cached_property
    def experiment(self) -> Experiment:
        """The network, its data and its optimiser."""
        return Experiment(self.settings)

    @property
    def start_epoch(self) -> int:
        """Epochs before the window.

        Raises:
            StorageError: If the training is not finished.
        """
        start = self.read_note("training").get(START)
        if start is None or not self.has("training"):
            raise StorageError(
                expected=f"a finished training in {self.path}",
                got="none",
                hint=f"landscope law {self.path} continues it.",
            )
        return start

    @functools.cached_property
    def study(self) -> Study:
        """The study of the finished training.

        Raises:
            StorageError: If the training is not finished.
        """
        experiment, settings = self.experiment, self.settings
        steps = experiment.order.batches_per_epoch
        first, middle, last = ((self.start_epoch + n * experiment.window_epochs) * steps for n in range(3))
        of_study: dict[str, Any] = {
            "window": (first + 1, middle), "fresh": (middle + 1, last), "batch_size": settings.batch_size,
            "steps_per_epoch": steps, **settings.analysis,
        }  # fmt: skip
        put_study_settings(self.path, checked_settings(StudySettings, of_study))
        return Study(
            self.path, experiment.unloaded_network(), experiment.criterion, experiment.landscape_data,
            evaluate=self._evaluate, train_on=self._train_on, **of_study,
        )  # fmt: skip

    @functools.cached_property
    def results(self) -> Study:
        """The study for reading alone: no data are loaded and no network is made."""
        return Study(self.path)

    def _evaluate(self, model: nn.Module) -> dict[str, float]:
        experiment = self.experiment
        measured = {"margin": _mean_margin(model, experiment.train_data)}
        for part, data in (("train", experiment.train_data), ("test", experiment.test_data)):
            measured[f"{part}_loss"], measured[f"{part}_error"] = evaluate(model, data, experiment.criterion)
        return measured

    def _train_on(self, model: nn.Module, record: Any, *, sampling: Any, n_steps: int, seed: int) -> None:
        experiment = self.experiment
        order = dataclasses.replace(experiment.order, sampling=sampling, seed=seed)
        optimizer = experiment.optimizer(model)
        with one_thread(), record(optimizer):
            for epoch in train(model, experiment.criterion, experiment.train_data, optimizer, order):
                if epoch.step >= n_steps:
                    break

    def analyse(
        self, reporter: Reporter, *, until: str | None = None, noise: bool = False, controls: bool = False,
        dynamics: bool = False, jobs: int = 1, executor: str = "processes",
    ) -> None:  # fmt: skip
        """Train, and make every missing result of some stages, see :meth:`landscope.Study.analyse`.

        Args:
            reporter: Shows progress.
            until: Last stage, one of :data:`STAGES`, with every stage before it.
            noise: Measure the minibatch noise too.
            controls: Measure the controls too.
            dynamics: Measure the dynamics too.
            jobs: Workers that share the analysis.
            executor: Where they are.
        """
        if self.has("training"):
            self._drop_damaged_training(reporter)
        if not self.has("training"):
            train_run(self.path, self.experiment, reporter)
        if until != "train":
            self.study.analyse(
                until=until, noise=noise, controls=controls, dynamics=dynamics, jobs=jobs, executor=executor,
                progress=reporter,
            )  # fmt: skip

    def _drop_damaged_training(self, reporter: Reporter) -> None:
        """Delete a finished training of which something is lost: it is made again, with the same numbers."""
        with self.locked():
            folder = StudyFolder.open(self.path)
            for name in folder.drop_damaged_notes():
                reporter.note(f"[yellow]{name} is made again:[/yellow] the file is damaged")
            reason = reason_to_train_again(folder, START)
            if reason:
                reporter.note(f"[yellow]the training is made again:[/yellow] {reason}")
                drop_training(folder)

    def report(self) -> Path:
        """Write the page of the run."""
        settings = self.settings
        hidden = f" {list(settings.hidden)}" if settings.network == "mlp" else ""
        facts = [
            ("Data", settings.data),
            ("Network", settings.network + hidden),
            ("Order of the minibatches, seed", f"{settings.sampling}, {settings.seed}"),
        ]
        return self.results.report(title=f"landscope: {settings.data}", facts=facts, settings=settings.to_yaml())


@torch.no_grad()
def _mean_margin(model: nn.Module, data: tuple[Tensor, Tensor]) -> float:
    """Mean over samples of the right output minus the largest wrong one."""
    total = 0.0
    for inputs, labels in zip(*(values.split(4096) for values in data), strict=True):
        outputs = model(inputs).double()
        right = outputs.gather(1, labels[:, None])[:, 0]
        wrong = outputs.scatter(1, labels[:, None], -torch.inf).max(dim=1).values
        total += float((right - wrong).sum())
    return total / len(data[1])
