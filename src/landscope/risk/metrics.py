"""Any quantity of a model, such as its accuracy, as a function of the selected weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from landscope.errors import InputError
from landscope.full_precision import full_precision, in_full_precision
from landscope.parameters import ParameterSpace
from landscope.risk.batch_norm import ReestimatedLosses
from landscope.risk.evaluation import BlockLosses

__all__ = ["HasModel", "one_number"]


@in_full_precision
class HasModel:
    """What a risk offers beyond its loss: the model at other weights, and quantities of it."""

    _model: nn.Module
    _blocks: BlockLosses
    space: ParameterSpace
    w0: Tensor

    def model_at(self, w: Tensor) -> nn.Module:
        """A copy of the model, in eval mode, with the selected weights ``w[N]``; all else is as in the risk.

        With ``batch_norm="re-estimated"`` the statistics of batch normalisation are those at ``w``.

        Example:
            >>> import landscope as ls, torch
            >>> data = (torch.ones(1, 1), torch.zeros(1, 1))
            >>> risk = ls.EmpiricalRisk(torch.nn.Linear(1, 1, bias=False), torch.nn.MSELoss(), data)
            >>> risk.model_at(torch.tensor([3.0]))(torch.tensor([[2.0]])).item()
            6.0
        """
        model = copy.deepcopy(self._model)
        self._set(model, w)
        return model

    def metric(self, function: Callable[[nn.Module], Any]) -> Callable[[Tensor], float]:
        """A quantity of the model as a function of the selected weights: accuracy, a margin, any number.

        Args:
            function: ``function(model)`` gives a number; the model is a copy in eval mode, without gradients. What it
                draws at random is drawn alike at every point, and the random state of the caller stays as it is.

        Returns:
            ``w[N] -> number``.

        Raises:
            InputError: When called, if the function gives no single number.

        Example:
            >>> import landscope as ls, torch
            >>> x, y = torch.tensor([[1.0], [-1.0]]), torch.tensor([[1.0], [-1.0]])
            >>> risk = ls.EmpiricalRisk(torch.nn.Linear(1, 1, bias=False), torch.nn.MSELoss(), (x, y))
            >>> accuracy = risk.metric(lambda model: (model(x).sign() == y).double().mean())
            >>> accuracy(torch.tensor([0.5])), accuracy(torch.tensor([-0.5]))
            (1.0, 0.0)
        """
        model = copy.deepcopy(self._model)
        devices = [self.w0.device] if self.w0.device.type == "cuda" else []

        @torch.no_grad()
        def value(w: Tensor) -> float:
            self._set(model, w)
            with torch.random.fork_rng(devices=devices), full_precision():
                return one_number(function(model.eval()))

        return value

    @torch.no_grad()
    def _set(self, model: nn.Module, w: Tensor) -> None:
        parameters = self.space.unflatten(w.detach().to(self.w0))
        if isinstance(self._blocks, ReestimatedLosses):
            model.load_state_dict(self._blocks.statistics_at(parameters), strict=False)
        self.space.assign(model, w.detach().to(self.w0))


def one_number(value: Any) -> float:
    """What a function of the user gave, as one number."""
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        shape = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise InputError(
            expected="a metric that gives one number",
            got=shape,
            hint="For example (model(x).argmax(1) == y).double().mean().",
        ) from None
