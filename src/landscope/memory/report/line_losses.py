"""The mean loss of a model at many points of a straight line: data and loss are read and checked once."""

from __future__ import annotations

import glob
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscope.errors import LandscopeError
from landscope.memory.report.task_loss import TaskLoss
from landscope.parameters import ParameterSpace, named_tensors
from landscope.seeded import seeded
from landscope.sharded import whole_state

__all__ = ["losses_on_line"]


@torch.no_grad()
def losses_on_line(
    loss: TaskLoss,
    model: nn.Module,
    old: Mapping[str, Any],
    share: Sequence[float],
    between: Callable[[Tensor, Tensor, float], Tensor],
) -> list[float] | None:
    """The mean loss at each point; None where a point is more than other values of the weights.

    Args:
        loss: The loss and its data.
        model: The new model.
        old: The old state, under the names of the new one.
        share: Share of the new weights at each point.
        between: ``between(old, new, share)`` gives the weights of a point.
    """
    moving = _moving(model, old)
    if not moving:
        return None
    with seeded(0):
        try:
            space = ParameterSpace.of(model, [glob.escape(name) for name in moving])
            risk = loss.risk(model, space)
        except LandscopeError:  # such as weights of several dtypes; each point then has a landscape of its own
            return None
        start, end = space.flatten({name: old[name] for name in space.names}), space.flatten(model)
        return [float(risk(between(start, end, a))) for a in share]


def _moving(model: nn.Module, old: Mapping[str, Any]) -> list[str]:
    """Names of the weights that differ; none where something else differs too, such as running means."""
    weights = named_tensors(model)
    differ = [
        name
        for name, value in whole_state(model).items()
        if isinstance(value, Tensor) and value.is_floating_point() and not torch.equal(value, old[name].to(value))
    ]
    return differ if set(differ) <= set(weights) else []
