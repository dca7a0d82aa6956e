"""A network of which some layers are frozen: what lies before the first free one is evaluated once."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from landscope.parameters import ParameterSpace, Selection
from landscope.risk.tracing import split_model
from landscope.tasks.groups import Task

__all__ = ["FreeLayers"]

_SAMPLES_PER_CALL = 4096


class FreeLayers:
    """The part of a network that the free parameters enter, and what the frozen part before it makes of inputs.

    Where the network cannot be cut by tracing, the part is the whole network.

    Args:
        model: The network; all parameters that are not selected are frozen from now on.
        select: The free ones.

    Example:
        >>> import torch
        >>> from landscope.networks import mlp
        >>> model = mlp([4, 3, 3, 2], seed=0)
        >>> free = FreeLayers(model, "2.weight")
        >>> features = free.features(torch.ones(5, 4))
        >>> features.shape, bool((free.part(features) == model(torch.ones(5, 4))).all())
        (torch.Size([5, 3]), True)
    """

    def __init__(self, model: nn.Module, select: Selection | Iterable[Selection] | None = None) -> None:
        space = ParameterSpace.of(model, select)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in space.names)
        self._prefix: nn.Module | None = None
        self.part = model
        try:
            split = split_model(model, space.names)
        except Exception:  # noqa: BLE001 - any network may fail to trace in any way; the whole one serves too
            return
        if not split.prefix_is_empty and len(split.tail_inputs) + len(split.affine) == 1:
            self._prefix, self.part = split.prefix, split.suffix

    @torch.no_grad()
    def features(self, inputs: Tensor) -> Tensor:
        """What enters the free part; the inputs themselves where nothing before it is frozen."""
        if self._prefix is None:
            return inputs
        self._prefix.eval()
        return torch.cat([self._prefix(some)[0] for some in inputs.split(_SAMPLES_PER_CALL)])

    def of(self, task: Task) -> Task:
        """The same task, as the free part sees it."""
        return task.with_inputs(self.features(task.train[0]), self.features(task.test[0]))
