"""Settings of a training: one typed object, a YAML file, or options on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, model_validator

from landscope._names import Sampling
from landscope.errors import InputError, StorageError
from landscope.files.plain_yaml import read_yaml
from landscope.study.settings import AnalysisSettings, PlainSettings, checked_settings

__all__ = ["ContinualOptions", "Loss", "Network", "Optimizer", "Pretraining", "Settings", "TaskSettings"]

Network = Literal["mlp", "mnist-cnn", "cifar-cnn", "residual", "gpt2"]
"""Networks that ``landscope run`` builds, see :mod:`landscope.reproduction.experiment.networks`."""
Optimizer = Literal["sgd", "adam"]
"""Optimisers that ``landscope run`` trains with."""
Loss = Literal["cross-entropy", "mse"]
"""Losses of a minibatch; mse is the squared distance of the outputs from the unit vector of the class."""
Pretraining = Literal["tasks", "all", "none"]
"""Training data of frozen layers: the classes of the tasks, or all classes; none freezes nothing."""


class TaskSettings(PlainSettings):
    """Settings of every training: the data, the network, and SGD on reshuffled minibatches."""

    data: str = "digits"
    """Data set: digits, mnist, cifar10, fashion-mnist, modular-addition, any hub id of images or texts, or a folder."""
    train_samples: Annotated[int, Field(ge=2)] | None = None
    """Number of training samples, the same samples in every run; all by default."""
    label_noise: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the training labels that are replaced by another class, the same labels in every run."""
    network: Network = "mlp"
    """Network: a perceptron, one of the two CNNs of the paper, a residual network, or a GPT-2 for sequences."""
    hidden: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (50, 50)
    """Widths of the hidden layers of the perceptron."""
    bias: bool = False
    """Give the layers of the perceptron a bias; in the paper they have none."""
    equal_norm: bool = False
    """Give every weight matrix the same initial norm in all seeds: the mean of its distribution."""
    select: str | None = None
    """Glob of the weights to analyse; by default those between the first two hidden layers."""
    loss: Loss = "cross-entropy"
    """Loss: cross-entropy, or mse, the squared distance from the unit vector of the class."""
    batch_size: Annotated[int, Field(ge=1)] = 50
    """Samples in a minibatch, B."""
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1
    """Learning rate, alpha."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Random seed of the whole run."""
    device: str = "cpu"
    """Device: cpu, cuda, cuda:1, ..."""

    def to_yaml(self) -> str:
        """The settings as YAML, to be read by :meth:`Settings.from_yaml`."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    @model_validator(mode="after")
    def _equal_norm_where_torch_initialises(self) -> TaskSettings:
        if self.equal_norm and self.network == "gpt2":
            raise ValueError("equal_norm is for networks whose weights torch initialises; gpt2 has its own")
        return self


class Settings(TaskSettings, AnalysisSettings):
    """Settings of ``landscope run``; the defaults are the paper's, on the built-in digits.

    Example:
        >>> Settings(data="mnist").batch_size
        50
        >>> Settings.of({"learnig_rate": 0.2})
        Traceback (most recent call last):
        landscope.errors.InputError: Expected settings of landscope; got learnig_rate: unknown. Did you mean
        learning_rate?
    """

    initial: str | None = None
    """Checkpoint to start from: a file under checkpoints/ of a run of the same network; new weights by default."""
    record_every: Annotated[int, Field(ge=1)] = 1
    """Steps between two recorded rows of weights; must divide the steps of an epoch."""
    optimizer: Optimizer = "sgd"
    """Optimiser: sgd (with or without momentum) or adam."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Momentum of SGD."""
    nesterov: bool = False
    """Use Nesterov momentum."""
    sampling: Sampling = "reshuffled"
    """Order of the minibatches."""
    start: Literal["zero-error"] | Annotated[int, Field(ge=0)] = "zero-error"
    """Epoch after which the window starts, or zero-error: the first epoch with training error 0."""
    max_epochs: Annotated[int, Field(ge=1)] = 200
    """Longest wait for training error 0, in epochs; the window then starts anyway, and the report says so."""
    window_epochs: Annotated[int, Field(ge=1)] | None = None
    """Epochs of the window; by default 10, or more if 10 epochs have fewer than 3,000 steps."""
    flatness_samples: Annotated[int, Field(ge=2)] | None = None
    """Number of training samples that the landscape is measured on, the first ones; all by default."""

    @model_validator(mode="after")
    def _momentum_where_there_is_one(self) -> Settings:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        if self.optimizer == "adam" and (self.momentum or self.nesterov):
            raise ValueError("adam has no momentum of its own to set; leave momentum and nesterov out")
        return self

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """Settings from a mapping.

        Raises:
            InputError: If a name is unknown or a value does not fit.
        """
        return checked_settings(cls, values)

    @property
    def analysis(self) -> dict[str, Any]:
        """The settings of the analysis, without those of the training."""
        return self.model_dump(include=set(AnalysisSettings.model_fields))

    @classmethod
    def from_yaml(cls, path: str | Path) -> dict[str, Any]:
        """The settings in a YAML file, checked; others keep their defaults.

        Raises:
            InputError: If the file is missing, is no mapping, or holds an unknown name or a bad value.
        """
        try:
            values = read_yaml(Path(path), "names and values", has_crc=False)
        except StorageError as error:
            raise InputError(
                expected=f"a YAML file of settings at {path}",
                got=error.got,
                hint="landscope run --print-config shows one.",
            ) from None
        cls.of(values)
        return values


class ContinualOptions(PlainSettings):
    """Options of ``landscope continual``, beside the settings of a training."""

    tasks: str = "0,1;2,3"
    """Classes of each task: classes by commas, tasks by semicolons."""
    methods: tuple[str, ...] = ("ldc-floor",)
    """Methods that protect earlier tasks, each with its lambda as name:lambda, or by name with its default lambda."""
    pretraining: Pretraining = "all"
    """First train all layers on the classes of the tasks, or on all, and freeze those not selected; or none."""
    n_modes: Annotated[int, Field(ge=1)] = 200
    """Directions to constrain for each task; if its weights moved along fewer, all of these."""
    rank: Annotated[int, Field(ge=1)] | None = None
    """Most directions that the penalties of all tasks together keep (of Kronecker products: one a layer)."""
    max_epochs: Annotated[int, Field(ge=1)] = 50
    """Longest wait for a training error of zero in each task, in epochs."""
    window_epochs: Annotated[int, Field(ge=1)] = 10
    """Epochs that each task is trained for after that, to find its modes in; more if they are below 500 steps."""
