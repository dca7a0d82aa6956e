"""Running statistics that stay those of the tasks held, while a new task is learnt."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Generator, Sequence
from typing import Any

from torch import nn

from landscope.risk.running_statistics import layers_with_statistics

__all__ = ["kept_statistics"]


@contextlib.contextmanager
def kept_statistics(model: nn.Module) -> Generator[None]:
    """Layers with running statistics stay in eval mode, whatever mode the model is set to within the context.

    They normalise by their statistics and leave them as they are; gradients pass through. At the end each layer has
    the mode that was asked for last, by ``train`` or ``eval`` of the model or of the layer alone. An evaluation of the
    model in between that gives back the modes by ``module.training`` counts as none. Copies that are made within the
    context, and files of the whole model, are plain layers.

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
    parents: dict[nn.Module, list[nn.Module]] = {}
    for part in model.modules():
        for child in part.children():
            parents.setdefault(child, []).append(part)
    with contextlib.ExitStack() as stack:
        for norm in layers_with_statistics(model):
            stack.enter_context(_in_eval_mode(norm, parents.get(norm, [])))
        yield


@contextlib.contextmanager
def _in_eval_mode(norm: nn.Module, parents: Sequence[nn.Module]) -> Generator[None]:
    before = vars(norm).get("train")
    # another memory of the model may keep it too
    mode = before if isinstance(before, _EvalMode) else _EvalMode(norm, parents)
    mode.enter()
    try:
        yield
    finally:
        mode.leave()


class _EvalMode:
    """Takes the place of ``module.train``: the module notes the mode that is asked for, and stays in eval mode.

    A flag of the module itself, and not a hook of its call, is what ``torch.compile`` looks at in a model that it
    compiled before.

    Args:
        module: The layer.
        parents: The modules that it is directly in.
    """

    def __init__(self, module: nn.Module, parents: Sequence[nn.Module]) -> None:
        self._module, self._parents, self._users = module, parents, 0
        self._asked, self._is_paused = module.training, False
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
            is_evaluated = self._is_paused and not self._is_in_training
            self._module.training = self._asked and not is_evaluated

    def __call__(self, mode: bool = True) -> nn.Module:
        """What ``module.train(mode)`` does but for the mode of the module itself.

        An eval mode that comes with that of the whole model holds as long as that of the model: who evaluates in
        between may give back the modes by ``module.training``, which cannot be seen here.
        """
        self._train(mode)
        asked, self._module.training = self._module.training, False
        self._is_paused = not asked and not self._is_in_training
        if not self._is_paused:
            self._asked = asked
        return self._module

    @property
    def _is_in_training(self) -> bool:
        return any(parent.training for parent in self._parents)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """A copy of the module, by ``copy`` or by ``pickle``, has its plain method: loading it needs no landscope."""
        if self._replaced is not None:
            return functools.partial, (self._replaced,)
        return getattr, (self._module, "train")  # the copy has no attributes yet, so this is the method of its class
