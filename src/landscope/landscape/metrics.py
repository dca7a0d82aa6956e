"""Other quantities beside the loss, at the same points of a line or a plane."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from landscope.errors import InputError
from landscope.protocols import LossLandscape

__all__ = ["Metrics", "metrics_at", "metrics_of"]

_Place = TypeVar("_Place")
Metrics = Mapping[str, Callable[[Any], Any]]
"""Name -> ``f(model)`` for a landscape of a model, ``f(w[N])`` for any other; each gives one number."""


def metrics_of(landscape: LossLandscape, metrics: Metrics | None) -> dict[str, Callable[[Tensor], float]]:
    """Each metric as a function of the weights.

    Raises:
        InputError: If they are not functions by name.
    """
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping) or not all(isinstance(name, str) for name in metrics):
        raise InputError(
            expected="metrics as functions by name", got=type(metrics).__name__,
            hint='For example metrics={"accuracy": f} with f(model) -> number.',
        )  # fmt: skip
    for name, function in metrics.items():
        if not callable(function):
            raise InputError(
                expected=f"the metric {name} as a function", got=type(function).__name__,
                hint="Pass f(model) -> number, or f(w) -> number for a landscape that is a formula.",
            )  # fmt: skip
    of_model = getattr(landscape, "metric", None)
    return {name: _of_weights(f) if of_model is None else of_model(f) for name, f in metrics.items()}


def _of_weights(function: Callable[[Any], Any]) -> Callable[[Tensor], float]:
    @torch.no_grad()
    def value(w: Tensor) -> float:
        found = function(w)
        try:
            return float(found)
        except (TypeError, ValueError, RuntimeError):
            raise InputError(
                expected="a metric that gives one number for weights w[N]",
                got=f"a tensor of shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__,
                hint="Return a float, or a tensor with one element.",
            ) from None

    return value


def metrics_at(
    metrics: Mapping[str, Callable[[Tensor], float]], places: Sequence[_Place], weights_at: Callable[[_Place], Tensor]
) -> Tensor:
    """``places[n] -> values[m, n]`` of each metric, in float64; without metrics no weights are made."""
    if not metrics:
        return torch.empty(0, len(places), dtype=torch.float64)
    rows = [[function(w) for function in metrics.values()] for w in map(weights_at, places)]
    return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), len(metrics)).T.contiguous()
