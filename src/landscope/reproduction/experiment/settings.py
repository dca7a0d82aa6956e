"""What a run is asked for: one typed object, a YAML file, or options on the line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from landscope._names import Sampling
from landscope.errors import InputError
from landscope.reproduction.experiment.choices import Loss, Network, Optimizer, Pretraining

__all__ = ["ContinualOptions", "Settings", "TaskSettings"]

Range = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]


class TaskSettings(BaseModel):
    """What every training is asked for: plain SGD on reshuffled minibatches of some data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str = "digits"
    """Data set: digits, mnist, cifar10, fashion-mnist, modular-addition, any hub id of images or texts, or a folder."""
    train_samples: Annotated[int, Field(ge=2)] | None = None
    """Train on so many samples only, the same ones in every run."""
    label_noise: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the training labels that are replaced by another class, the same ones in every run."""
    network: Network = "mlp"
    """Network: a perceptron, one of the paper's two CNNs, a residual network, or a GPT-2 for sequences."""
    hidden: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (50, 50)
    """Widths of the hidden layers of the perceptron."""
    bias: bool = False
    """Give the layers of the perceptron a bias; the paper's have none."""
    equal_norm: bool = False
    """Give every weight matrix the same initial norm in all seeds: what its distribution has on average."""
    select: str | None = None
    """Glob of the weights in question; by default those between the first two hidden layers."""
    loss: Loss = "cross-entropy"
    """Loss: cross-entropy, or mse, the squared distance from the unit vector of the class."""
    batch_size: Annotated[int, Field(ge=1)] = 50
    """Samples a minibatch, B."""
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1
    """Learning rate, alpha."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of everything that is drawn."""
    device: str = "cpu"
    """Where to compute: cpu, cuda, cuda:1, ..."""

    def to_yaml(self) -> str:
        """The settings as YAML, to be read by :meth:`Settings.from_yaml`."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    @model_validator(mode="after")
    def _equal_norm_where_torch_initialises(self) -> TaskSettings:
        if self.equal_norm and self.network == "gpt2":
            raise ValueError("equal_norm is for networks whose weights torch initialises; gpt2 has its own")
        return self


class Settings(TaskSettings):
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
    """Checkpoint to start from in place of new weights: a file under checkpoints/ of a run of the same network."""
    record_every: Annotated[int, Field(ge=1)] = 1
    """Record the weights every so many steps; must divide the steps of an epoch."""
    optimizer: Optimizer = "sgd"
    """Optimiser: sgd (with momentum where asked for) or adam."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Momentum of SGD."""
    nesterov: bool = False
    """Nesterov's form of the momentum."""
    sampling: Sampling = "reshuffled"
    """Order of the minibatches."""
    start: Literal["zero-error"] | Annotated[int, Field(ge=0)] = "zero-error"
    """Epoch after which the window starts, or zero-error: the first epoch without a training error."""
    max_epochs: Annotated[int, Field(ge=1)] = 200
    """Epochs to wait for zero training error; the window then starts anyway and the report says so."""
    window_epochs: Annotated[int, Field(ge=1)] | None = None
    """Epochs of the window; by default 10, or as many as make 3,000 steps where that is more."""
    fit_modes: Range = (2, 500)
    """First and last mode of the variance-flatness fit."""
    spectrum_ranks: Range = (20, 200)
    """First and last rank of the fit of the spectrum."""
    flatness_modes: Annotated[int, Field(ge=3)] | None = None
    """How many modes to measure the flatness of; all by default."""
    flatness_samples: Annotated[int, Field(ge=2)] | None = None
    """Training samples that the landscape is measured on, the first ones; all by default."""
    n_nulls: Annotated[int, Field(ge=0)] = 3
    """Shuffled-increment surrogates to send through the same analysis; two or more give a band."""
    noise_modes: Annotated[int, Field(ge=5)] = 100
    """Log-spaced modes along which the minibatch losses are measured."""
    basis_modes: Annotated[int, Field(ge=5)] = 200
    """Directions of the bases that are not chosen by variance: Hessian, gradient noise, random."""
    langevin_steps: Annotated[int, Field(ge=100)] = 6000
    """Steps of the equilibrium control."""
    rtol: Annotated[float, Field(ge=1e-12, lt=1)] = 1e-3
    """Relative tolerance of each crossing."""

    @field_validator("fit_modes", "spectrum_ranks")
    @classmethod
    def _three_at_least(cls, value: tuple[int, int]) -> tuple[int, int]:
        if value[1] - value[0] < 2:
            raise ValueError("needs a first and a last one with at least three between and with them")
        return value

    @model_validator(mode="after")
    def _enough_for_the_law(self) -> Settings:
        if self.flatness_modes is not None and self.flatness_modes < self.fit_modes[0] + 2:
            raise ValueError(f"flatness_modes must reach {self.fit_modes[0] + 2}: the law needs three modes")
        return self

    @model_validator(mode="after")
    def _momentum_where_there_is_one(self) -> Settings:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        if self.optimizer == "adam" and (self.momentum or self.nesterov):
            raise ValueError("adam has no momentum of its own to set; leave momentum and nesterov out")
        return self

    @property
    def is_plain_sgd(self) -> bool:
        """Whether a step is the learning rate times the gradient, as the paper's formulas take it."""
        return self.optimizer == "sgd" and self.momentum == 0

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """Settings from a mapping, with an error a person can use.

        Raises:
            InputError: If a name is unknown or a value does not fit.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            raise cls.explain(error, values) from None

    @classmethod
    def explain(cls, error: ValidationError, values: Mapping[str, Any] | None = None) -> InputError:
        """What was wrong with the settings, in words a person can use."""
        return InputError(expected="settings of landscope", got=_problems(error), hint=_suggestion(values or {}, cls))

    @classmethod
    def from_yaml(cls, path: str | Path) -> dict[str, Any]:
        """The settings a YAML file names, checked; what it does not name is left to the defaults.

        Raises:
            InputError: If the file is missing, is no mapping, or holds an unknown name or a bad value.
        """
        try:
            values = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(
                expected=f"a YAML file of settings at {path}",
                got=str(error).splitlines()[0],
                hint="landscope run --print-config shows one.",
            ) from None
        if not isinstance(values, dict):
            raise InputError(
                expected=f"names and values in {path}",
                got=type(values).__name__,
                hint="landscope run --print-config shows a file.",
            )
        cls.of(values)
        return values


class ContinualOptions(BaseModel):
    """Options of ``landscope continual``, beside the settings of a training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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


def _problems(error: ValidationError) -> str:
    parts: dict[str, str] = {}
    for item in error.errors():
        name = str(item["loc"][0]) if item["loc"] else "settings"
        unknown = item["type"] == "extra_forbidden"
        parts.setdefault(name, "unknown" if unknown else f"{item['msg'].lower()} (not {item['input']!r})")
    return "; ".join(f"{name}: {message}" for name, message in parts.items())


def _suggestion(values: Mapping[str, Any], cls: type[Settings]) -> str:
    for name in values:
        if name not in cls.model_fields:
            close = difflib.get_close_matches(str(name), cls.model_fields, n=1)
            return f"Did you mean {close[0]}?" if close else f"Known are: {', '.join(cls.model_fields)}."
    return "Correct the value; --help says what each setting takes."
