"""The model as it was where the last task ended, for measurements that are made later."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping

from torch import Tensor, nn

from landscope.parameters import ParameterSpace
from landscope.risk.running_statistics import with_statistics
from landscope.sharded import assign

__all__ = ["at_weights"]


@contextlib.contextmanager
def at_weights(
    model: nn.Module, space: ParameterSpace, w: Tensor, statistics: Mapping[str, Tensor] | None = None
) -> Generator[None]:
    """The model itself with other selected weights and running statistics, within the context.

    A function of the user may look at the model that it knows, so no copy would do.

    Args:
        model: The model.
        space: The selected weights.
        w: Their values.
        statistics: Running statistics; those of the model where none are given.

    Example:
        >>> import torch
        >>> model = nn.Linear(1, 1, bias=False)
        >>> before = model.weight.item()
        >>> with at_weights(model, ParameterSpace.of(model), torch.tensor([2.0])):
        ...     model.weight.item()
        2.0
        >>> model.weight.item() == before
        True
    """
    tensors = space.tensors(model)
    kept = [tensor.detach().clone() for tensor in tensors]
    try:
        space.assign(model, w)
        with with_statistics(model, statistics or {}):
            yield
    finally:
        assign(model, tensors, kept)
