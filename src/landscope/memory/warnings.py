"""What a memory of tasks warns of: what is passed over in silence, and holds less or more than was meant."""

from __future__ import annotations

import contextlib
import math
import warnings
from types import TracebackType

import torch
from torch import Tensor, nn

from landscope.parameters import ParameterSpace
from landscope.trajectory import Trajectory

__all__ = [
    "Entered", "Watch", "warn_of_another_place", "warn_of_fewer_tasks", "warn_of_others", "warn_of_rows",
    "warn_of_still",
]  # fmt: skip


class Entered(contextlib.AbstractContextManager[None]):
    """A training that says so where nobody enters it.

    Args:
        training: Records and holds between its beginning and its end.
    """

    def __init__(self, training: contextlib.AbstractContextManager[None]) -> None:
        self._training, self._unused = training, True

    def __enter__(self) -> None:
        self._unused = False
        self._training.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return self._training.__exit__(kind, error, traceback)

    def __del__(self) -> None:
        if self._unused:
            warnings.warn(
                "a training of a landscope.TaskMemory was never entered: nothing was recorded or held; write "
                "with memory.training(optimizer):",
                UserWarning,
                stacklevel=2,
            )


class Watch(contextlib.AbstractContextManager["Watch"]):
    """A training that says so where nothing was held, or all of it twice.

    Args:
        optimizer: Whose steps are expected.
        implicit: Whether implicit steps are taken, and not the gradient of a penalty in the loss.
        holds: Whether there are tasks to hold.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, *, implicit: bool, holds: bool) -> None:
        self._optimizer, self._implicit, self._holds = optimizer, implicit, holds
        self._stepped = self._added = False

    def __enter__(self) -> Watch:
        self._handle = self._optimizer.register_step_post_hook(self._step_taken)
        return self

    def _step_taken(self, *_: object) -> None:
        self._stepped = True

    def penalty_added(self, _: Tensor) -> None:
        """To be called as often as a gradient of the penalty is taken."""
        if self._implicit and not self._added:
            _warn(
                "the loss has memory.penalty() in it and implicit steps are taken too, so that earlier tasks are held "
                "twice: leave it out, or make the memory with implicit=False"
            )
        self._added = True

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._handle.remove()
        if kind is None and not self._stepped:
            _warn(
                "the optimiser that memory.training(optimizer) was given took no step: nothing was recorded or held; "
                "pass the one whose step() is called, the inner one of a wrapper"
            )
        elif kind is None and self._holds and not (self._implicit or self._added):
            _warn(
                "with implicit=False nothing holds earlier tasks but memory.penalty() in the loss, and no gradient of "
                "it was taken: add it, or leave implicit=False out"
            )


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=4)


def warn_of_others(model: nn.Module, tensors: list[Tensor], optimizer: torch.optim.Optimizer) -> None:
    """Where all weights were to be held, and the optimiser moves more."""
    held, moved = set(map(id, tensors)), {id(p) for group in optimizer.param_groups for p in group["params"]}
    others = [name for name, p in model.named_parameters() if p.requires_grad and id(p) in moved and id(p) not in held]
    if others:
        shown = ", ".join([*others[:3], *(["..."] if len(others) > 3 else [])])
        warnings.warn(
            f"the optimiser moves {shown}, which the memory does not hold: frozen when it was made, or added since; "
            "say select= of what it is to hold when it is made, or make it of the model with all layers free",
            UserWarning,
            stacklevel=6,
        )


def warn_of_fewer_tasks(count: int, before: int) -> None:
    """Where a state is from before the last task was consolidated."""
    warnings.warn(
        f"the state holds {count} tasks, and the memory held {before}: what was consolidated since is given up; write "
        "a checkpoint after consolidate() to resume from",
        UserWarning,
        stacklevel=3,
    )


def warn_of_still(window: Trajectory, space: ParameterSpace) -> None:
    """Where parameters did not move while the first task was learnt, and are held nevertheless."""
    moved = (window.weights[0] != window.weights[-1]).split([math.prod(shape) for shape in space.shapes])
    still = [name for name, part in zip(space.names, moved, strict=True) if not part.any()]
    if 0 < len(still) < len(space.names):
        warnings.warn(
            f"{', '.join(still[:3])}{', ...' if len(still) > 3 else ''} did not move while the task was learnt, and is "
            "held where it began: if another task is to learn it, as its own head, pass select= of what tasks share",
            UserWarning,
            stacklevel=4,
        )


def warn_of_rows(count: int, n_modes: int) -> None:
    """Where far fewer steps were recorded than directions are to be held."""
    warnings.warn(
        f"{count} steps were recorded, which move along {count - 1} directions and not along {n_modes}: the hold is "
        "another than after a long window; train more steps in memory.training, or ask for fewer n_modes",
        UserWarning,
        stacklevel=4,
    )


def warn_of_another_place(window: Trajectory, w1: Tensor) -> None:
    """Where the weights are farther from the last ones recorded than the recording ever was."""
    last = window.weights[-1]
    reach = max(float(torch.dist(row, last)) for row in window.weights)
    away = float(torch.dist(w1.to(last), last))
    if away > reach > 0:
        warnings.warn(
            f"the weights lie {away / reach:.2g} times as far from the last ones recorded as these went: held is "
            "where they are now, along directions that were found elsewhere; consolidate where the training ended",
            UserWarning,
            stacklevel=4,
        )
