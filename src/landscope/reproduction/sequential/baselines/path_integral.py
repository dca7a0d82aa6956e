"""Synaptic intelligence: each weight is held by how much it reduced the loss."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from landscope.memory.methods.accumulate import accumulate
from landscope.optimizer_steps import ends_step
from landscope.parameters import ParameterSpace, Selection
from landscope.penalties.proximal import ProximalSteps
from landscope.penalties.quadratic import QuadraticPenalty
from landscope.protocols import Penalty
from landscope.step_size import gradient_scale

__all__ = ["SynapticIntelligence"]


class SynapticIntelligence:
    r"""Hold each weight by how much it reduced the loss (Zenke, Poole & Ganguli, ICML 2017, arXiv 1703.04200).

    Equations 4 and 5 there:

    .. math:: V(w) = c \sum_j \Omega_j (w_j - w_{1j})^2, \qquad
              \Omega_j = \frac{\max(0, -\sum_t g_j(t)\, \delta w_j(t))}{(w_{1j} - w_{0j})^2 + \xi}

    summed over the steps t of a task that began at w_0 and ended at w_1. The penalties of several tasks are added up,
    each about its own end, and taken as an implicit step.

    Args:
        model: The model in training.
        select: Weights to hold.
        strength: c.
        damping: xi.

    Example:
        One weight that falls from 1 to 0.9 along a slope of 1 reduced the loss by 0.1.

        >>> import torch
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> _ = model.weight.data.fill_(1.0)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> memory = SynapticIntelligence(model, strength=1.0, damping=0.09)
        >>> with memory.training(optimizer):
        ...     model.weight.sum().backward()
        ...     optimizer.step()
        >>> memory.consolidate()
        >>> round(float(memory.held.stiffness), 4)
        1.0
    """

    def __init__(
        self,
        model: nn.Module,
        select: Selection | Iterable[Selection] | None = None,
        *,
        strength: float,
        damping: float = 0.1,
    ) -> None:
        self.model, self.space = model, ParameterSpace.of(model, select)
        self.strength, self.damping = strength, damping
        self.held: Penalty | None = None
        self._begin()

    def _begin(self) -> None:
        self._start = self.space.flatten(self.model)
        self._reduction = torch.zeros_like(self._start)

    @contextlib.contextmanager
    def training(self, optimizer: torch.optim.Optimizer) -> Generator[None]:
        """Add up how much each weight reduces the loss, and hold earlier tasks."""
        tensors = self.space.tensors(self.model)
        before: list[Tensor] = []

        def look(*_: object) -> None:
            slopes = [torch.zeros_like(p) if p.grad is None else p.grad.detach() for p in tensors]
            slope = torch.cat([slope.reshape(-1) for slope in slopes]) / gradient_scale(optimizer)
            before[:] = [slope, self.space.flatten(self.model)]

        def add(*_: object) -> None:
            if not ends_step(optimizer):
                return
            slope, w = before
            self._reduction -= slope * (self.space.flatten(self.model) - w)

        with contextlib.ExitStack() as stack:
            if self.held is not None:
                stack.enter_context(ProximalSteps(self.held, self.model, optimizer, self.space))
            stack.callback(optimizer.register_step_pre_hook(look).remove)
            stack.callback(optimizer.register_step_post_hook(add).remove)
            yield

    def consolidate(self, criterion: Any = None, data: Any = None) -> None:  # noqa: ARG002 - the protocol's arguments
        """End a task; its loss and its data are not needed."""
        end = self.space.flatten(self.model)
        latest = QuadraticPenalty(
            anchor=end,
            stiffness=self._reduction.clamp(min=0) / ((end - self._start).square() + self.damping),
            strength=self.strength,
            parameters=self.space.names,
        )
        self.held = accumulate(self.held, latest)
        self._begin()

    @property
    def n_stored(self) -> int:
        """Number of values stored for earlier tasks."""
        return 0 if self.held is None else self.held.n_stored
