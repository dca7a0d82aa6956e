"""What a study looks at: a model, its loss and data, and optional callables that go beyond a recording."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from landscope._names import BatchNorm
from landscope.errors import InputError
from landscope.parameters import ParameterSpace
from landscope.risk import EmpiricalRisk
from landscope.study.checkpoints import fresh_copy

__all__ = ["Evaluate", "Subject", "TrainOn"]

Evaluate = Callable[[nn.Module], Mapping[str, float]]
"""``evaluate(model)`` gives any of train_loss, train_error, test_loss, test_error and margin."""


@runtime_checkable
class TrainOn(Protocol):
    """Trains a model on from the end of the window."""

    def __call__(self, model: nn.Module, record: Callable[..., Any], *, sampling: str, n_steps: int, seed: int) -> None:
        """Make an optimiser of ``model`` and train ``n_steps`` steps inside ``with record(optimizer):``.

        Args:
            model: A copy of the model at the end of the window.
            record: Context manager that records; call it with the optimiser.
            sampling: Order of the minibatches: ``"reshuffled"``, ``"shuffled-once"``, ``"fixed"`` or
                ``"with-replacement"``. Raise NotImplementedError for an order you do not offer.
            n_steps: Steps to take.
            seed: Seed of the minibatches.
        """
        ...


@dataclasses.dataclass
class Subject:
    """A model with the loss that it was trained on.

    Args:
        model: The model; it is never changed.
        criterion: ``criterion(outputs, targets)``, see :class:`landscope.EmpiricalRisk`; None with ``losses``.
        losses: ``losses(model, batch)`` gives per-sample losses or ``(sum, count)``; None with ``criterion``.
        data: The training data that the landscape is measured on.
        evaluate: Gives errors and losses of a model; None where they are not wanted.
        train_on: Trains on from the end of the window; None where that is not offered.
    """

    model: nn.Module
    criterion: Callable[..., Any] | None
    losses: Callable[[nn.Module, Any], Any] | None
    data: Any
    evaluate: Evaluate | None = None
    train_on: TrainOn | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.model, nn.Module):
            raise InputError(
                expected="a model (torch.nn.Module)",
                got=type(self.model).__name__,
                hint='ls.Study("folder", model, ...)',
            )
        if (self.criterion is None) == (self.losses is None):
            raise InputError(
                expected="either a criterion or losses=",
                got="both" if self.criterion is not None else "neither",
                hint="Pass criterion(outputs, targets), or losses=f with f(model, batch).",
            )
        if self.data is None:
            raise InputError(
                expected="the training data", got="none", hint="Pass data=, a DataLoader or (inputs, targets)."
            )

    @property
    def batch_size(self) -> int | None:
        """Samples in a minibatch, where the data are a DataLoader that says so."""
        return self.data.batch_size if isinstance(self.data, DataLoader) else None

    @property
    def n_samples(self) -> int | None:
        """Number of training samples, where the data say so."""
        if isinstance(self.data, DataLoader):
            dataset = self.data.dataset
            return len(dataset) if hasattr(dataset, "__len__") else None
        if isinstance(self.data, tuple) and self.data and isinstance(self.data[0], Tensor):
            return len(self.data[0])
        return None

    def copy(self) -> nn.Module:
        """A copy of the model, to load other weights into."""
        return fresh_copy(self.model)

    def risk(self, model: nn.Module, space: ParameterSpace, *, batch_norm: BatchNorm = "kept") -> EmpiricalRisk:
        """The loss landscape of a model over some of its weights."""
        if self.losses is not None:
            return EmpiricalRisk.from_closure(model, self.losses, self.data, space=space)
        assert self.criterion is not None  # noqa: S101 - checked when the subject was made
        return EmpiricalRisk(model, self.criterion, self.data, space=space, batch_norm=batch_norm)

    def margin(self, model: nn.Module) -> float:
        """Margin of a classifier, where ``evaluate`` gives it; NaN otherwise."""
        return float(self.evaluate(model).get("margin", float("nan"))) if self.evaluate is not None else float("nan")


@torch.no_grad()
def set_weights(model: nn.Module, space: ParameterSpace, w: Tensor) -> None:
    """Write a vector of selected weights into a model."""
    for tensor, value in zip(space.tensors(model), space.unflatten(w).values(), strict=True):
        tensor.copy_(value)
