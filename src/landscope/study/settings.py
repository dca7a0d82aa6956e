"""Settings of an analysis: one typed object, saved with the study."""

from __future__ import annotations

import difflib
import inspect
import math
import textwrap
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from landscope._names import BatchNorm
from landscope.errors import InputError

__all__ = ["AnalysisSettings", "PlainSettings", "StudySettings", "checked_settings", "explain_settings_error"]

Range = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
Steps = tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]
AnySettings = TypeVar("AnySettings", bound=BaseModel)


def _line(name: str, field: FieldInfo) -> str:
    """A setting as a line of a docstring."""
    default = "" if field.default is None else f" Default: {field.default!r}."
    text = f"{name}: {' '.join((field.description or '').split())}{default}"
    return textwrap.fill(text, 116, initial_indent="    ", subsequent_indent="        ")


class PlainSettings(BaseModel):
    """Settings in which true and false are no numbers: Python and YAML take them for 1 and 0."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_truth(cls, value: Any, info: Any) -> Any:
        field = cls.model_fields[str(info.field_name)]
        if isinstance(value, bool) and field.annotation is not bool:
            raise ValueError(f"{str(value).lower()} is neither a number nor a text")
        return value


class AnalysisSettings(PlainSettings):
    """Settings that every analysis shares, of a user's study or of ``landscope run``."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    fit_modes: Range = (2, 500)
    """First and last principal mode of the variance-flatness fit, counted from 1."""
    spectrum_ranks: Range | None = None
    """First and last rank of the power-law fit of the spectrum of variances, counted from 1; by default 20 to 200 of
    2,500 modes, and in proportion of others."""
    flatness_modes: Annotated[int, Field(ge=3)] | None = None
    """Number of modes whose flatness is measured, from the first; all by default."""
    n_nulls: Annotated[int, Field(ge=0)] = 3
    """Number of surrogates with the window's steps in random order; two or more give a range."""
    noise_modes: Annotated[int, Field(ge=5)] = 100
    """Number of log-spaced modes along which the minibatch losses are measured."""
    n_processes: Annotated[int, Field(ge=0)] = 3
    """Number of finite-window processes; two or more give a range. Each takes 24 bytes of memory for every weight in
    every row of the window, and about twice as long as a surrogate with steps in random order. 0 leaves them out, with
    the eigenvectors of the curvature that they need."""
    curvature_modes: Annotated[int, Field(ge=5)] = 75
    """Number of eigenvectors of the curvature in the finite-window process. They take about three products with the
    curvature each, and a product takes as long as three evaluations of the loss on all data with its gradient."""
    basis_modes: Annotated[int, Field(ge=5)] = 200
    """Number of Hessian, gradient-noise and random directions in the controls."""
    langevin_steps: Annotated[int, Field(ge=100)] = 200
    """Steps of the walk in the loss itself that checks the process of thermal equilibrium, one of the controls. Each
    takes one gradient of all data."""
    response_modes: Annotated[int, Field(ge=3)] = 8
    """Number of log-spaced modes along which a training that goes on is kicked, part of the dynamics."""
    response_steps: Annotated[int, Field(ge=20)] = 500
    """Steps of each kicked training; there are ten for each mode, and four that are not kicked."""
    learning_coefficient_steps: Annotated[int, Field(ge=100)] = 1000
    """Steps of each of the four chains that estimate the local learning coefficient, one of the controls."""
    rtol: Annotated[float, Field(ge=1e-12, lt=1)] = 1e-3
    """Relative tolerance of the distances at which the loss reaches the ratio."""
    ratio: Annotated[float, Field(gt=1, allow_inf_nan=False)] = math.e
    """Loss at the edges of a valley over the loss at its bottom, where the flatness is measured. A loss that cannot
    rise by e, like that of a language model, needs a smaller one, such as 1.1."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of everything that is drawn."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Add the settings to the docstring, with their defaults, so that ``help`` shows them."""
        super().__pydantic_init_subclass__(**kwargs)
        lines = [_line(name, field) for name, field in cls.model_fields.items() if field.description]
        cls.__doc__ = "\n".join([inspect.cleandoc(cls.__doc__ or ""), "", "Args:", *lines])

    @field_validator("fit_modes", "spectrum_ranks")
    @classmethod
    def _three_at_least(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and value[1] - value[0] < 2:
            raise ValueError("needs a first and a last one that span at least three")
        return value

    @model_validator(mode="after")
    def _enough_for_the_law(self) -> AnalysisSettings:
        if self.flatness_modes is not None and self.flatness_modes < self.fit_modes[0] + 2:
            raise ValueError(f"flatness_modes must reach {self.fit_modes[0] + 2}: the law needs three modes")
        return self


class StudySettings(AnalysisSettings):
    """Settings of a :class:`landscope.Study`.

    Example:
        >>> StudySettings(fit_modes=(2, 100)).n_nulls
        3
    """

    window: Steps | None = None
    """First and last optimiser step of the window; the last quarter of the recording by default."""
    fresh: Steps | Literal["none"] | None = None
    """First and last optimiser step of the fresh data; by default the same number of rows before the window.
    ``"none"``: only one window, and what needs fresh data is not measured."""
    w0: Annotated[str, Field(pattern=r"^(last|mean|given [0-9a-f]{16})$")] = "last"
    """Point w0 at which the loss, the flatness and the curvature are measured: the ``"last"`` row of the window; the
    ``"mean"`` of its rows; or averaged weights (EMA, SWA), given as a model, a state dict or the path of a file. The
    modes are those of the window in any case, and trainings that go on begin at its last row."""
    batch_size: Annotated[int, Field(ge=1)] | None = None
    """Samples in a minibatch of the training; by default what a Trainer's callback noted, or what a DataLoader says."""
    steps_per_epoch: Annotated[int, Field(ge=1)] | None = None
    """Optimiser steps in an epoch of the training; by default what a Trainer's callback noted, or what the data say.
    Over such epochs, and those near them, the finite-window process looks for the order of the minibatches."""
    minibatch_order: Literal["independent", "reshuffled"] | None = None
    """Order in which the training drew its minibatches: ``"reshuffled"`` in every epoch, or ``"independent"``; by
    default what the noise of the window shows, see :func:`landscope.surrogates.epoch_noise_share`. The finite-window
    process and its exponent in a window without end have this order."""
    batch_norm: BatchNorm = "kept"
    """Statistics of batch normalisation, ``"kept"`` or ``"re-estimated"``, see :class:`landscope.EmpiricalRisk`."""

    @field_validator("window", "fresh")
    @classmethod
    def _first_before_last(cls, value: Any) -> Any:
        if isinstance(value, tuple) and value[0] >= value[1]:
            raise ValueError("needs a first step before its last step")
        return value

    @model_validator(mode="after")
    def _apart(self) -> StudySettings:
        if isinstance(self.fresh, tuple):
            if self.window is None:
                raise ValueError("fresh needs a window beside it")
            if self.fresh[0] <= self.window[1] and self.window[0] <= self.fresh[1]:
                raise ValueError("fresh must not overlap the window: data that chose the modes are not fresh")
        return self


def checked_settings(kind: type[AnySettings], values: Mapping[str, Any]) -> AnySettings:
    """Make settings from a mapping, with an error that a person can use.

    Args:
        kind: Class of the settings.
        values: Names and values.

    Raises:
        InputError: If a name is unknown or a value does not fit.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        raise explain_settings_error(kind, error, values) from None


def explain_settings_error(
    kind: type[BaseModel], error: ValidationError, values: Mapping[str, Any] | None = None
) -> InputError:
    """Turn an error of pydantic into the house's error."""
    return InputError(expected="settings of landscope", got=_problems(error), hint=_suggestion(values or {}, kind))


def _problems(error: ValidationError) -> str:
    parts: dict[str, str] = {}
    for item in error.errors():
        name = str(item["loc"][0]) if item["loc"] else ""
        parts.setdefault(name, _problem(item))
    return "; ".join(f"{name}: {message}" if name else message for name, message in parts.items())


def _problem(item: Any) -> str:
    if item["type"] == "extra_forbidden":
        return "unknown"
    said = str(item["ctx"]["error"]) if item["type"] == "value_error" else item["msg"].lower()
    return f"{said} (not {item['input']!r})" if item["loc"] else said


def _suggestion(values: Mapping[str, Any], kind: type[BaseModel]) -> str:
    for name in values:
        if name not in kind.model_fields:
            close = difflib.get_close_matches(str(name), kind.model_fields, n=1)
            return f"Did you mean {close[0]}?" if close else f"Known are: {', '.join(kind.model_fields)}."
    return "Correct the value; help(landscope.study.StudySettings), or --help of a command, describes the settings."
