"""Running statistics that stay those of the tasks held, while a new task is learnt."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from typing import Any

from torch import nn

from landscope.risk.running_statistics import layers_with_statistics

__all__ = ["kept_statistics"]


@contextlib.contextmanager
def kept_statistics(model: nn.Module) -> Generator[None]:
    """Layers with running statistics stay in eval mode, whatever mode the model is set to within the context.

    They normalise by their statistics and leave them as they are; gradients pass through. At the end each layer has
    the mode that was asked for last. Copies that are made within the context are plain layers.

    Args:
        model: The model of the user.

    Example:
        >>> import torch
        >>> norm = nn.BatchNorm1d(1, affine=False, eps=0.0)
        >>> with kept_statistics(norm):
        ...     norm.train()(torch.tensor([[1.0], [3.0]])).flatten().tolist()
        [1.0, 3.0]
        >>> norm.running_mean.tolist(), norm.training
        ([0.0], True)
    """
    with contextlib.ExitStack() as stack:
        for norm in layers_with_statistics(model):
            stack.enter_context(_in_eval_mode(norm))
        yield


@contextlib.contextmanager
def _in_eval_mode(norm: nn.Module) -> Generator[None]:
    before = vars(norm).get("train")
    mode = before if isinstance(before, _EvalMode) else _EvalMode(norm)  # another memory of the model may keep it too
    mode.enter()
    try:
        yield
    finally:
        mode.leave()


class _EvalMode:
    """Takes the place of ``module.train``: the module notes the mode that is asked for, and stays in eval mode.

    A flag of the module itself, and not a hook of its call, is what ``torch.compile`` looks at in a model that it
    compiled before.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module, self._asked, self._users = module, module.training, 0
        self._replaced: Callable[..., Any] | None = vars(module).get("train")
        self._train = module.train

    def enter(self) -> None:
        """Keep the module in eval mode."""
        self._users += 1
        vars(self._module)["train"] = self
        self._module.training = False

    def leave(self) -> None:
        """Give the module back in the mode that was asked for, when nobody keeps it any more."""
        self._users -= 1
        if not self._users:
            del vars(self._module)["train"]
            if self._replaced is not None:
                vars(self._module)["train"] = self._replaced
            self._module.training = self._asked

    def __call__(self, mode: bool = True) -> nn.Module:
        """What ``module.train(mode)`` does but for the mode of the module itself."""
        self._train(mode)
        self._asked, self._module.training = self._module.training, False
        return self._module

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """A copy of the module, by ``copy`` or by ``pickle``, is a plain one."""
        return _PlainMode, (self._module,)


class _PlainMode:
    """``train`` of a copy of a module that was kept in eval mode."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __call__(self, mode: bool = True) -> nn.Module:
        """What ``module.train(mode)`` does; the module is as any other from then on."""
        vars(self._module).pop("train", None)
        return self._module.train(mode)
