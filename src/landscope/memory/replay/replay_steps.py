"""Replay in any training loop: the gradient of each step contains that of samples of earlier tasks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from landscope.memory.replay.replayed_tasks import ReplayedTasks
from landscope.optimizer_steps import ends_step
from landscope.step_size import gradient_scale

__all__ = ["ReplaySteps"]


class ReplaySteps:
    r"""Turns the gradient g of a new task into :math:`(g + K \nabla R) / (K + 1)` before each step of the optimiser.

    This is done in a hook of the optimiser, so it works in any loop, with gradient accumulation and mixed precision,
    and after the step's closure where there is one. Gradients of other optimisers are left alone.

    Args:
        tasks: The K earlier tasks, one or more, and their loss R.
        model: The model.
        optimizer: Its optimiser.
        within: Makes a context for every evaluation of the loss R.
    """

    def __init__(
        self,
        tasks: ReplayedTasks,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        within: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    ) -> None:
        self._tasks, self._model, self._optimizer, self._within = tasks, model, optimizer, within

    def __enter__(self) -> ReplaySteps:
        self._hook = self._optimizer.register_step_pre_hook(self._before_step)
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()

    def _before_step(
        self, _: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if not ends_step(self._optimizer):
            return None
        closure = args[1] if len(args) > 1 else kwargs.get("closure")  # the first argument is the optimiser
        if closure is None:
            self._mix()
            return None
        mixed = self._after(closure)
        if len(args) > 1:
            return (args[0], mixed, *args[2:]), dict(kwargs)
        return args, {**kwargs, "closure": mixed}

    def _after(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        """The closure of a step, whose gradients are then mixed."""

        def mixed() -> Any:
            loss = closure()
            self._mix()
            return loss

        return mixed

    def _mix(self) -> None:
        count = self._tasks.n_tasks
        weights = [p for group in self._optimizer.param_groups for p in group["params"] if p.requires_grad]
        with torch.enable_grad(), self._within():
            loss = count * gradient_scale(self._optimizer) * self._tasks.loss(self._model)
            found = torch.autograd.grad(loss, weights, allow_unused=True)
        with torch.no_grad():
            for weight, gradient in zip(weights, found, strict=True):
                weight.grad = _mean(weight.grad, gradient, count + 1)


def _mean(new: Tensor | None, replayed: Tensor | None, count: int) -> Tensor | None:
    """Their sum over the count; in the tensor that is there, which distributed training may hold."""
    if new is None or replayed is None:
        found = new if replayed is None else replayed
        return None if found is None else found.div_(count)
    if new.layout != replayed.layout:
        return (new + replayed) / count
    return new.add_(replayed.to(new.dtype)).div_(count)
