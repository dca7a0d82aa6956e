"""The running statistics that a model has now, for risks that were made earlier."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping

import torch
from torch import Tensor, nn

from landscope.parameters import named_layers

__all__ = [
    "copied_statistics", "layers_with_statistics", "lerped_statistics", "running_statistics",
    "set_statistics", "updating_layers", "with_statistics",
]  # fmt: skip

_KINDS = ("running_mean", "running_var")


def layers_with_statistics(model: nn.Module) -> list[nn.Module]:
    """Layers that normalise by running statistics in eval mode, also of other packages.

    Example:
        >>> len(layers_with_statistics(nn.Sequential(nn.BatchNorm1d(2), nn.LayerNorm(2))))
        1
    """
    return [part for part in model.modules() if isinstance(getattr(part, "running_mean", None), Tensor)]


def updating_layers(model: nn.Module) -> list[nn.Module]:
    """Those of them that update their statistics in train mode; frozen ones of other packages have no momentum.

    Example:
        >>> len(updating_layers(nn.Sequential(nn.BatchNorm1d(2), nn.InstanceNorm1d(2, track_running_stats=True))))
        2
    """
    return [
        layer
        for layer in layers_with_statistics(model)
        if getattr(layer, "track_running_stats", hasattr(layer, "momentum"))
    ]


def running_statistics(model: nn.Module) -> dict[str, Tensor]:
    """The running means and variances of all layers by name, as the layers hold them."""
    return {
        f"{name}.{kind}": value
        for name, layer in named_layers(model)
        for kind in _KINDS
        if isinstance(value := getattr(layer, kind, None), Tensor)
    }


def copied_statistics(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the running statistics of a model."""
    return {name: value.detach().clone() for name, value in running_statistics(model).items()}


def lerped_statistics(start: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Statistics on the straight line from ``start`` to ``end``; those that the start does not have stay at the end."""
    return {
        name: torch.lerp(start[name].to(value), value, share)
        if name in start and start[name].shape == value.shape and value.is_floating_point()
        else value
        for name, value in end.items()
    }


@torch.no_grad()
def set_statistics(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Give a model these statistics, where it has them in the same shape."""
    for name, value in running_statistics(model).items():
        if name in values and values[name].shape == value.shape:
            value.copy_(values[name])


@contextlib.contextmanager
def with_statistics(model: nn.Module, values: Mapping[str, Tensor]) -> Generator[None]:
    """The model has these statistics within the context."""
    before = copied_statistics(model)
    try:
        set_statistics(model, values)
        yield
    finally:
        set_statistics(model, before)
