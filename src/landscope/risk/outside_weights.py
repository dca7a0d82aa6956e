"""Weights that a model reads in another way than as parameters of its layers.

A risk gives the layers of its copy other weights. What ``forward`` reads from a list, a dict or a closure stays as it
is: a selected weight would then be a constant. The weights of a module outside of the model belong to the user, who may
train them on.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from landscope.errors import InputError
from landscope.in_place_changes import count_fused_steps, times_changed
from landscope.parameters import ParameterSpace
from landscope.seeded import kept_random_state
from landscope.sharded import own_part

__all__ = ["check_outside_weights", "check_reads"]


class _Reads(TorchDispatchMode):
    """The operations that read some memory, and the parameters that they read."""

    def __init__(self, places: Iterable[tuple[str, Tensor]]) -> None:
        super().__init__()
        self._places = [(name, *_ends(part)) for name, part in places if _has_memory(part)]
        self.names: dict[str, None] = {}
        self.parameters: dict[int, nn.Parameter] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for leaf in tree_leaves((args, kwargs or {})):
            if isinstance(leaf, nn.Parameter):
                self.parameters[id(leaf)] = leaf
            if isinstance(leaf, Tensor) and _has_memory(leaf):
                start, end = _ends(leaf)
                self.names.update({name: None for name, first, last in self._places if first < end and start < last})
        return func(*args, **(kwargs or {}))


def _has_memory(tensor: Tensor) -> bool:
    is_wrapped = torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    return tensor.layout == torch.strided and not is_wrapped and not tensor.is_meta and tensor.numel() > 0


def _ends(tensor: Tensor) -> tuple[int, int]:
    """The first and the last place in memory that a tensor may have."""
    steps = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (steps + 1) * tensor.element_size()


def check_reads(
    run: Callable[[dict[str, Tensor]], Any], own: nn.Module, user_model: nn.Module, space: ParameterSpace
) -> None:
    """Raise if a run with other weights still reads the old ones; note the weights of others that it reads.

    Args:
        run: Evaluates the copy with these selected parameters, for a few samples.
        own: The copy of the model.
        user_model: The model of the user.
        space: Selected parameters.

    Raises:
        InputError: If it reads selected parameters of the copy or of the user.
    """
    places = [
        (name, own_part(tensor))
        for model in (own, user_model)
        for name, tensor in zip(space.names, space.tensors(model), strict=True)
    ]
    reads = _Reads(places)
    # An error of the model itself comes again in the checks that follow. A loss may take derivatives.
    with contextlib.suppress(Exception), kept_random_state(), torch.enable_grad():
        parameters = space.unflatten(space.flatten(own))
        with reads:
            run(parameters)
    if reads.names:
        raise InputError(
            expected="a model that reads the selected weights as attributes of its layers, such as self.layer.weight",
            got=f"{type(own).__name__}, which reads {', '.join(reads.names)} in another way, as from a list, a dict, a "
            "closure or a lambda",
            hint="Other weights would not reach it there. Read self.layer.weight in forward, or keep parameters in an "
            "nn.ParameterList or an nn.ParameterDict; or select other parameters.",
        )
    inside = {id(parameter) for parameter in own.parameters()}
    outside = [parameter for place, parameter in reads.parameters.items() if place not in inside]
    if outside:
        _OUTSIDE[own] = [_Outside(parameter) for parameter in outside]


class _Outside:
    """A weight outside of a model, with the value that it had."""

    def __init__(self, parameter: nn.Parameter) -> None:
        count_fused_steps()
        self._parameter, self._changes = parameter, times_changed(parameter)
        self._value = parameter.detach().clone()

    def check(self) -> None:
        """Raise if the weight has another value."""
        changes = times_changed(self._parameter)
        if changes == self._changes:
            return
        if torch.equal(self._parameter.detach(), self._value):
            self._changes = changes
            return
        raise InputError(
            expected="the same weights outside of the model as when the risk was made",
            got=f"other ones, of shape {list(self._value.shape)}: the model uses a module that is no part of it, and "
            "this was changed since",
            hint="Make the module a part of the model, as by self.encoder = encoder in __init__, so that the risk has "
            "its own copy; freeze it by requires_grad_(False) or by the choice of weights. Or make the risk anew.",
        )


_OUTSIDE: weakref.WeakKeyDictionary[nn.Module, list[_Outside]] = weakref.WeakKeyDictionary()
"""Weights that the copies of models use, but do not hold."""


def check_outside_weights(model: nn.Module) -> None:
    """Raise if weights changed that a copy of a model uses, but does not hold.

    Raises:
        InputError: If they did.
    """
    for weight in _OUTSIDE.get(model, ()):
        weight.check()
