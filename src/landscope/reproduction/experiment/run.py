"""One training of a built-in network and its study, with the same stages and page as the study of any model."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from landscope.progress import Reporter
from landscope.reproduction.experiment.experiment import Experiment
from landscope.reproduction.experiment.folder import ExperimentFolder
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.experiment.train import train_run, training_is_done, window_steps
from landscope.reproduction.experiment.training import evaluate, train
from landscope.results import Result
from landscope.study import Study
from landscope.study.folder import StudyFolder
from landscope.threads import one_thread

__all__ = ["STAGES", "ExperimentRun"]

STAGES = ("train", "modes", "flatness", "law", "noise", "controls")
"""Stages of a run, in order: the training, then those of every study."""
AnyResult = TypeVar("AnyResult", bound=Result)


class ExperimentRun:
    """A built-in network, its training, and the study of it. Make one with :meth:`create` or :meth:`open`.

    Args:
        path: Folder of the study.
        settings: Settings of the training and of the analysis.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path, self.settings = path, settings

    @classmethod
    def create(cls, path: str | Path, settings: Settings) -> ExperimentRun:
        """Create a run, or open the run in the folder if it has the same settings.

        Raises:
            StorageError: If the folder holds a run under other settings or other files, or cannot be written.
        """
        ExperimentFolder.create(path, settings)
        StudyFolder.create(path, settings.analysis)
        return cls(Path(path), settings)

    @classmethod
    def open(cls, path: str | Path) -> ExperimentRun:
        """Open the run in a folder.

        Raises:
            StorageError: If there is none, or it is damaged or of another version.
        """
        folder = ExperimentFolder.open(path)
        StudyFolder.open(path)
        return cls(Path(path), folder.settings)

    @functools.cached_property
    def experiment(self) -> Experiment:
        """The network, its data and its optimiser."""
        return Experiment(self.settings)

    @functools.cached_property
    def study(self) -> Study:
        """The study of the finished training.

        Raises:
            StorageError: If the training is not finished.
        """
        experiment, settings = self.experiment, self.settings
        window, fresh = window_steps(self.path, experiment)
        return Study(
            self.path, experiment.network(), experiment.criterion, experiment.landscape_data, evaluate=self._evaluate,
            train_on=self._train_on, window=window, fresh=fresh, batch_size=settings.batch_size,
            steps_per_epoch=experiment.order.batches_per_epoch, **settings.analysis,
        )  # fmt: skip

    @functools.cached_property
    def results(self) -> Study:
        """The study for reading alone: no data are loaded and no network is made."""
        return Study(self.path)

    def _evaluate(self, model: nn.Module) -> dict[str, float]:
        experiment = self.experiment
        train_loss, train_error = evaluate(model, experiment.train_data, experiment.criterion)
        test_loss, test_error = evaluate(model, experiment.test_data, experiment.criterion)
        return {
            "train_loss": train_loss,
            "train_error": train_error,
            "test_loss": test_loss,
            "test_error": test_error,
            "margin": mean_margin(model, experiment.train_data),
        }

    def _train_on(self, model: nn.Module, record: Any, *, sampling: Any, n_steps: int, seed: int) -> None:
        experiment = self.experiment
        order = dataclasses.replace(experiment.order, sampling=sampling, seed=seed)
        optimizer = experiment.optimizer(model)
        with one_thread(), record(optimizer):
            for epoch in train(model, experiment.criterion, experiment.train_data, optimizer, order):
                if epoch.step >= n_steps:
                    break

    def analyse(
        self, reporter: Reporter, *, until: str | None = None, noise: bool = False, controls: bool = False
    ) -> None:
        """Train, and make every missing result of some stages, see :meth:`landscope.Study.analyse`.

        Args:
            reporter: Shows progress.
            until: Last stage, one of :data:`STAGES`, with every stage before it.
            noise: Measure the minibatch noise too.
            controls: Measure the controls too.
        """
        if not training_is_done(self.path):
            train_run(self.path, self.experiment, reporter)
        if until != "train":
            self.study.analyse(until=until, noise=noise, controls=controls, progress=reporter)

    @contextlib.contextmanager
    def locked(self) -> Generator[None]:
        """Keep other processes out while this one works on the run."""
        with StudyFolder.open(self.path).locked():
            yield

    def has(self, name: str) -> bool:
        """Whether a result is there."""
        return self._folder.has(name)

    def load(self, name: str, kind: type[AnyResult]) -> AnyResult:
        """Read a result."""
        return self._folder.load(name, kind)

    def save(self, name: str, result: Result) -> None:
        """Write a result."""
        self._folder.save(name, result)

    def cached(self, name: str, kind: type[AnyResult], make: Callable[[], AnyResult]) -> AnyResult:
        """Read a result, or make and keep it."""
        return self._folder.cached(name, kind, make)

    def names(self, prefix: str = "") -> tuple[str, ...]:
        """Names of the results that begin with ``prefix``."""
        return self._folder.names(prefix)

    @functools.cached_property
    def _folder(self) -> StudyFolder:
        return StudyFolder.open(self.path)

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
def mean_margin(model: nn.Module, data: tuple[Tensor, Tensor]) -> float:
    """Mean over samples of the right output minus the largest wrong one."""
    total = 0.0
    for inputs, labels in zip(*(values.split(4096) for values in data), strict=True):
        outputs = model(inputs).double()
        right = outputs.gather(1, labels[:, None])[:, 0]
        wrong = outputs.scatter(1, labels[:, None], -torch.inf).max(dim=1).values
        total += float((right - wrong).sum())
    return total / len(data[1])
