"""Warnings of a task memory: cases where it would silently protect less or more than intended."""

from __future__ import annotations

import contextlib
import math
from types import TracebackType

import torch
from torch import Tensor, nn

from landscope.errors import InputError, LandscopeWarning
from landscope.parameters import ParameterSpace, inner_model, plain_name
from landscope.penalties.warnings import WarnsIfUnused, listed, warn
from landscope.risk.empirical import EmpiricalRisk
from landscope.risk.guessing import guess_above
from landscope.trajectory import Trajectory

__all__ = [
    "StepMonitor", "TrainingContext", "warn_if_parameters_never_moved", "warn_if_weights_moved_since_recording",
    "warn_if_unknown", "warn_of_few_rows", "warn_of_fewer_tasks", "warn_of_large_budget", "warn_of_unprotected",
]  # fmt: skip


class TrainingContext(WarnsIfUnused, contextlib.AbstractContextManager[None]):
    """A training context that warns if it is never entered.

    Args:
        training: Context manager that records and protects between entry and exit.
    """

    def __init__(self, training: contextlib.AbstractContextManager[None]) -> None:
        self._training, self._was_entered = training, False
        self._unused = (
            "memory.training(optimizer) was called but never entered, so nothing was recorded or protected; write "
            "`with memory.training(optimizer):`"
        )

    def __enter__(self) -> None:
        if self._was_entered:
            raise InputError(
                expected="a training that is entered once", got="a second `with` of the same one",
                hint="Write `with memory.training(optimizer):` for each block.",
            )  # fmt: skip
        self._unused, self._was_entered = "", True
        self._training.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return self._training.__exit__(kind, error, traceback)


class StepMonitor(contextlib.AbstractContextManager["StepMonitor"]):
    """Warns at the end of a training that protected nothing, or that counted the penalty twice.

    Args:
        optimizer: Optimiser whose steps are expected.
        implicit: Whether implicit steps are taken; otherwise the loss must contain the penalty.
        has_tasks: Whether there are earlier tasks to protect.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, *, implicit: bool, has_tasks: bool) -> None:
        self._optimizer, self._implicit, self._has_tasks = optimizer, implicit, has_tasks
        self._stepped = self._penalised = False

    def __enter__(self) -> StepMonitor:
        self._handle = self._optimizer.register_step_post_hook(self._after_step)
        return self

    def _after_step(self, *_: object) -> None:
        self._stepped = True

    def follow(self) -> None:
        """Note that a gradient of the penalty was taken."""
        if self._implicit and not self._penalised:
            warn(
                "the loss contains memory.penalty() although implicit steps are taken too, so earlier tasks count "
                "twice; remove it from the loss, or make the memory with implicit=False"
            )
        self._penalised = True

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._handle.remove()
        if kind is None and not self._stepped:
            warn(
                "the optimiser passed to memory.training(optimizer) took no step, so nothing was recorded or "
                "protected; pass the optimiser whose step() is called, not a wrapper of it"
            )
        elif kind is None and self._has_tasks and not (self._implicit or self._penalised):
            warn(
                "implicit=False protects earlier tasks only if the loss contains memory.penalty(), and no gradient of "
                "it was taken; add it to the loss, or leave implicit=False out"
            )


def warn_of_unprotected(model: nn.Module, tensors: list[Tensor], optimizer: torch.optim.Optimizer) -> None:
    """Warn where all weights were to be protected and the optimiser moves others."""
    protected, moved = set(map(id, tensors)), {id(p) for group in optimizer.param_groups for p in group["params"]}
    others = [
        plain_name(name)
        for name, p in inner_model(model).named_parameters()
        if p.requires_grad and id(p) in moved - protected
    ]
    if others:
        warn(
            f"the optimiser moves {listed(others)}, which the memory does not protect, because it was frozen or did "
            "not exist when the memory was made; pass select= to the memory, or make it when all layers are trainable"
        )


def warn_of_fewer_tasks(loaded: int, current: int) -> None:
    """Warn where a loaded state is older than the last consolidated task."""
    if loaded < current:
        warn(
            f"the loaded state has {loaded} tasks and the memory had {current}, so the later tasks are lost; save a "
            "checkpoint after each consolidate()"
        )


def warn_of_large_budget(rise: float) -> None:
    """Warn where a loss may double, as by a budget of 5 that was meant as 5 %."""
    if rise >= 1:
        warn(
            f"a budget of {rise:g} lets the loss of each earlier task rise by {100 * rise:,.6g} %, as it is a share; "
            f"for {rise:g} % pass {rise / 100:g}"
        )


def warn_if_unknown(risk: EmpiricalRisk, loss: float, name: str) -> None:
    """Warn where a model knows no more of the data than guessing, so that there is nothing to keep."""
    if (guess := guess_above(risk, loss)) is not None:
        warn(
            f"the model does not know the data of {name!r}: their loss is {loss:.4g}, and that of guessing {guess} "
            f"is {guess.loss:.4g}; pass the data of the old task, on which the model was trained, with the same "
            "labels, the same loss and the same preparation of the inputs; an untrained model has nothing to keep",
            LandscopeWarning,
        )


def warn_if_parameters_never_moved(window: Trajectory, space: ParameterSpace) -> None:
    """Warn where some parameters did not move during the first task and will be protected nevertheless."""
    moved = (window.weights[0] != window.weights[-1]).split([math.prod(shape) for shape in space.shapes])
    still = [name for name, part in zip(space.names, moved, strict=True) if not part.any()]
    if 0 < len(still) < len(space.names):
        warn(
            f"{listed(still)} did not move during the task and will be held at the initial values; if another task "
            "trains it, such as a head of its own, pass select= with the weights that all tasks share"
        )


def warn_of_few_rows(n_rows: int, n_modes: int, dim: int) -> None:
    """Warn where far fewer steps were recorded than directions were asked for."""
    if 2 * n_rows < min(n_modes, dim):
        warn(
            f"{n_rows} recorded steps span at most {n_rows - 1} of the {n_modes} directions asked for, and the penalty "
            "will differ from one built on a longer window; train more steps in memory.training, or lower n_modes"
        )


def warn_if_weights_moved_since_recording(window: Trajectory, w1: Tensor) -> None:
    """Warn where the weights are farther from the last recorded ones than the recording ever was."""
    last = window.weights[-1]
    reach = max(float(torch.dist(row, last)) for row in window.weights)
    away = float(torch.dist(w1.to(last), last))
    if away > reach > 0:
        warn(
            f"the weights are {away / reach:.2g} times farther from the last recorded weights than any recorded row, "
            "so the recorded directions may not fit them; consolidate at the weights where the training ended"
        )
