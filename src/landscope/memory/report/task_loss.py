"""The loss of a task on the weights that a memory protects."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from landscope._checks import check_count, check_seed
from landscope.errors import InputError
from landscope.notices import user_code_alone
from landscope.parameters import ParameterSpace
from landscope.risk.data import is_pair_of_tensors
from landscope.risk.empirical import EmpiricalRisk

__all__ = ["TaskLoss", "check_loss_options"]

_OF_CRITERION, _OF_LOSSES = ("count", "cache_bytes"), ("count", "seed", "mode", "cache_bytes")


def check_loss_options(options: Mapping[str, Any] | None, *, of_losses: bool) -> None:
    """Raise where options of a risk are unknown, or its numbers are none.

    Args:
        options: The options.
        of_losses: Whether the loss is a function of the model and a batch.

    Raises:
        InputError: If an option is unknown, or a number is out of range.
    """
    if options is None:
        return
    known = _OF_LOSSES if of_losses else _OF_CRITERION
    if not isinstance(options, Mapping) or not set(options) <= set(known):
        raise InputError(
            expected=f"loss_options with any of {', '.join(known)}",
            got=", ".join(map(str, options)) if isinstance(options, Mapping) else type(options).__name__,
            hint="seed and mode belong to losses=f. For example loss_options={'count': lambda batch: len(batch[0])}.",
        )
    if "cache_bytes" in options:
        check_count("cache_bytes", options["cache_bytes"], minimum=0, hint="Pass a number of bytes, such as 2**30.")
    if options.get("seed") is not None:
        check_seed(options["seed"])


@dataclasses.dataclass(frozen=True)
class TaskLoss:
    """A criterion, or a function of the model and a batch, with its data.

    Args:
        criterion: ``criterion(outputs, targets)``; None with ``losses``, or for the loss that the model itself
            computes.
        data: The data of the task.
        losses: ``losses(model, batch)``; None with ``criterion``.
        options: Further arguments of the risk.

    Raises:
        InputError: If there are two losses, no data, or an unknown option.
    """

    criterion: Callable[..., Any] | None
    data: Any
    losses: Callable[[nn.Module, Any], Any] | None = None
    options: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.criterion is not None and self.losses is not None:
            raise InputError(
                expected="either a criterion or losses=", got="both",
                hint="Pass criterion(outputs, targets), or losses=f with f(model, batch).",
            )  # fmt: skip
        if self.data is None:
            raise InputError(expected="the data of the task", got="none", hint="Pass data=, such as a DataLoader.")
        check_loss_options(self.options, of_losses=self.losses is not None)

    def risk(self, model: nn.Module, space: ParameterSpace) -> EmpiricalRisk:
        """The loss as a landscape, at the weights of a model."""
        options = dict(self.options or {})
        with user_code_alone():  # a memory holds all layers, so the advice to select later ones is of no use
            return self._risk(model, space, options)

    def _risk(self, model: nn.Module, space: ParameterSpace, options: dict[str, Any]) -> EmpiricalRisk:
        if self.losses is not None:
            data = [self.data] if is_pair_of_tensors(self.data) else self.data
            return EmpiricalRisk.from_closure(model, self.losses, data, space=space, **options)
        return EmpiricalRisk(model, self.criterion, self.data, space=space, **options)
