"""The weights that a model has now beside the selected ones, for risks that were made earlier."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping

from torch import Tensor, nn

from landscope.parameters import ParameterSpace, named_tensors
from landscope.sharded import assign, whole

__all__ = ["other_weights", "with_weights"]


def other_weights(model: nn.Module, space: ParameterSpace) -> dict[str, Tensor]:
    """The parameters that require a gradient and are not selected, by name.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 1, bias=False))
        >>> list(other_weights(model, ParameterSpace.of(model, "0.*")))
        ['1.weight']
    """
    selected = set(map(id, space.tensors(model)))  # a tied one has several names
    return {
        name: whole(tensor.detach())
        for name, tensor in named_tensors(model).items()
        if tensor.requires_grad and id(tensor) not in selected
    }


@contextlib.contextmanager
def with_weights(model: nn.Module, values: Mapping[str, Tensor]) -> Generator[None]:
    """The model has these values of its parameters within the context, where it has them in the same shape."""
    own = named_tensors(model) if values else {}
    changed = {name: own[name] for name, value in values.items() if name in own and own[name].shape == value.shape}
    before = {name: whole(tensor.detach()).clone() for name, tensor in changed.items()}
    try:
        assign(model, changed.values(), [values[name] for name in changed])
        yield
    finally:
        assign(model, changed.values(), before.values())
