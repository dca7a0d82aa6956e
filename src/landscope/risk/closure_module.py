"""A function of a model and a batch as one module, so that one call can replace parameters and stored layers."""

from __future__ import annotations

import collections
import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from landscope.risk.checkpointing import no_checkpointing
from landscope.risk.module_cut import Calls, OtherCallsError, replayed
from landscope.risk.outside_weights import check_outside_weights

__all__ = ["ClosureModule"]


class ClosureModule(nn.Module):
    """``batch_losses(model, batch)`` as a module, so that one call can replace its parameters."""

    def __init__(self, model: nn.Module, batch_losses: Callable[[nn.Module, Any], Any]) -> None:
        super().__init__()
        self.model = model
        self.batch_losses = batch_losses
        names = collections.defaultdict(list)
        # A module with two names has one place for each parameter, which must be replaced and restored once.
        for name, parameter in itertools.chain(*(_own(*pair) for pair in model.named_modules(prefix="model"))):
            names[id(parameter)].append(name)
        self._all_names = {name: alike for alike in names.values() for name in alike}
        """The names of each parameter, which has several if it is tied."""

    def forward(self, batch: Any) -> Any:
        """The losses of one batch."""
        return self.batch_losses(self.model, batch)

    def with_parameters(self, parameters: dict[str, Tensor], batch: Any) -> Any:
        """The losses of one batch with some parameters of the model replaced."""
        check_outside_weights(self.model)
        replaced = {
            alias: value
            for name, value in parameters.items()
            for alias in self._all_names.get(f"model.{name}", [f"model.{name}"])
        }
        with no_checkpointing():  # to search the model for tied weights in every call would be slow
            return torch.func.functional_call(self, replaced, (batch,), tie_weights=False)

    def with_calls(self, parameters: dict[str, Tensor], batch: Callable[[], Any], calls: Calls | None) -> Any:
        """The same of ``batch()``, with the results of stored calls where the modules are called as they were then."""
        if calls is not None:
            with contextlib.suppress(OtherCallsError):  # then execute all calls
                return replayed(self, calls, lambda: self.with_parameters(parameters, batch()))
        return self.with_parameters(parameters, batch())


def _own(prefix: str, module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The parameters of a module itself, with their names in the model."""
    for name, parameter in module._parameters.items():
        if parameter is not None:
            yield f"{prefix}.{name}", parameter
