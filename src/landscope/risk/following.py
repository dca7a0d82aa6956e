"""A risk that follows a model in training: its buffers, and the trained weights that are not selected."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

import torch
from torch import Tensor, nn

from landscope.parameters import inner_model, named_layers
from landscope.risk.empirical import EmpiricalRisk
from landscope.risk.other_weights import other_weights, with_weights

__all__ = ["FollowingRisk"]


class FollowingRisk:
    """A risk at the model as it is now, and not as it was when the risk was made.

    Args:
        risk: The risk. What else its own copy of the model holds, such as frozen weights, stays.
        model: The model in training.

    Example:
        >>> model = nn.Sequential(nn.BatchNorm1d(1, eps=1e-12))
        >>> risk = EmpiricalRisk(model, nn.MSELoss(), (torch.ones(4, 1), torch.zeros(4, 1)))
        >>> following = FollowingRisk(risk, model)
        >>> _ = model[0].running_mean.fill_(3.0)
        >>> with following.now() as risk:
        ...     float(risk(risk.w0))
        4.0
    """

    def __init__(self, risk: EmpiricalRisk, model: nn.Module) -> None:
        self._model, self.space = inner_model(model), risk.space
        self._changes = bool(_buffers(self._model)) or bool(other_weights(self._model, risk.space))
        self.risk = risk.without_stored() if self._changes else risk

    @contextlib.contextmanager
    def now(self) -> Generator[EmpiricalRisk]:
        """The risk; within the context it is that of the model as it is now."""
        if not self._changes:
            yield self.risk
            return
        own, theirs = _buffers(self.risk._model), _buffers(self._model)
        shared = [(own[name], theirs[name]) for name in own if name in theirs and own[name].shape == theirs[name].shape]
        before = [value.clone() for value, _ in shared]
        try:
            with with_weights(self.risk._model, other_weights(self._model, self.space)):
                _copy(shared)
                yield self.risk
        finally:
            _copy([(value, old) for (value, _), old in zip(shared, before, strict=True)])


def _buffers(model: nn.Module) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value
        for name, layer in named_layers(model)
        for key, value in layer._buffers.items()
        if value is not None
    }


@torch.no_grad()
def _copy(pairs: list[tuple[Tensor, Tensor]]) -> None:
    for value, other in pairs:
        value.copy_(other)
