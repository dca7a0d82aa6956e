"""Every method that keeps earlier tasks behind one protocol, by name: the library's, the baselines, none and joint."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Generator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from landscope._checks import check_choice
from landscope.errors import InputError
from landscope.memory.snapshot import TaskSnapshot
from landscope.memory.task_memory import TaskMemory
from landscope.parameters import ParameterSpace
from landscope.penalties.proximal import ProximalSteps
from landscope.protocols import Penalty
from landscope.recorder import TrajectoryRecorder
from landscope.reproduction.sequential.ablations import COMPARED, UNPROTECTED
from landscope.reproduction.sequential.ablations import method_label as penalty_label
from landscope.reproduction.sequential.baselines.path_integral import SynapticIntelligence
from landscope.reproduction.sequential.baselines.projection import GradientProjectionMemory, OrthogonalGradientDescent
from landscope.reproduction.sequential.baselines.protocol import Memory
from landscope.reproduction.sequential.baselines.replay import Replay
from landscope.reproduction.sequential.task_data import Labelled
from landscope.risk.empirical import EmpiricalRisk
from landscope.trajectory import Trajectory

__all__ = ["BASELINES", "EndSnapshot", "HeldPenalty", "MethodSettings", "SelectedOutputs", "method_label"]

BASELINES: Mapping[str, str] = {
    "si": "synaptic intelligence",
    "gpm": "GPM",
    "ogd": "OGD, 200 gradients a task",
    "replay": "replay, 100 samples a task",
}
"""Published methods, and their names for a reader."""


def method_label(method: str) -> str:
    """Name of a method for a reader."""
    return BASELINES[method] if method in BASELINES else penalty_label(method)


@dataclasses.dataclass(frozen=True)
class MethodSettings:
    """A method and its numbers.

    Args:
        method: A key of ``ablations.COMPARED`` or of :data:`BASELINES`; ``"none"``; or ``"joint"``,
            which trains on all tasks so far together.
        strength: lambda; c of synaptic intelligence, the threshold of GPM; None for a method's default, or for none.
        n_modes: Directions constrained for each task, at most as many as its weights moved along; of elastic weight
            consolidation in Fig. 4, weights.
        rank: Directions that all tasks together may keep; all by default.
        window: Last steps of a task in which its modes are found; by default those of the training's window.

    Raises:
        InputError: If the method is unknown.

    Example:
        >>> MethodSettings("ldc-floor", 4.0, n_modes=200, rank=600).file_name
        'ldc-floor-4-200-rank600'
        >>> MethodSettings("none").file_name
        'none'
    """

    method: str
    strength: float | None = None
    n_modes: int = 0
    rank: int | None = None
    window: int | None = None

    def __post_init__(self) -> None:
        check_choice("method", self.method, (*UNPROTECTED, *COMPARED, *BASELINES))

    @property
    def takes_modes(self) -> bool:
        """Whether it constrains directions, rather than all weights."""
        return self.method in COMPARED and COMPARED[self.method].takes_modes

    @property
    def needs_recording(self) -> bool:
        """Whether it needs the recorded window of a task."""
        return self.method in COMPARED and COMPARED[self.method].needs_recording

    @property
    def file_name(self) -> str:
        """The name of its results in a folder."""
        parts = [self.method, *([] if self.strength is None else [f"{self.strength:g}"])]
        parts += [f"{self.n_modes}"] if self.takes_modes else []
        return "-".join([*parts, *([] if self.rank is None or self.method in UNPROTECTED else [f"rank{self.rank}"])])

    def at(self, strength: float) -> MethodSettings:
        """The same at a strength; NaN for none."""
        return dataclasses.replace(self, strength=None if math.isnan(strength) else strength)

    @property
    def value(self) -> float:
        """The strength; NaN for none."""
        return math.nan if self.strength is None else self.strength

    def memory(self, model: nn.Module, *, shared_only: bool = False, seed: int = 0) -> Memory:
        """The method at work on a model.

        Args:
            model: The model in training.
            shared_only: Protect all layers but the last, where every task has a head of its own.
            seed: Seed of what the method draws.

        Raises:
            InputError: If the method needs another strength, or does not serve these layers.
        """
        select = _all_but_last_layer(model) if shared_only else None
        if self.method in COMPARED:
            return TaskMemory(
                model, select, method=COMPARED[self.method], strength=self.strength, n_modes=max(1, self.n_modes),
                rank=self.rank, window=self.window or 500,
            )  # fmt: skip
        makers: Mapping[str, Callable[[], Memory]] = {
            "si": lambda: SynapticIntelligence(model, select, strength=self.value),
            "gpm": lambda: GradientProjectionMemory(model, select, threshold=self.value),
            "ogd": lambda: OrthogonalGradientDescent(model, select, seed=seed),
            "replay": lambda: ReplayOfSelectedOutputs(model, seed=seed),
        }
        return makers[self.method]() if self.method in makers else HeldPenalty(model)


def _all_but_last_layer(model: nn.Module) -> list[str]:
    names = [name for name, _ in model.named_parameters()]
    last = names[-1].rpartition(".")[0]
    return [name for name in names if name.rpartition(".")[0] != last]


class HeldPenalty:
    """Holds one given penalty, or nothing, and learns nothing from further tasks.

    Args:
        model: The model in training.
        penalty: Taken as an implicit step after each step; None for plain training.
    """

    def __init__(self, model: nn.Module, penalty: Penalty | None = None) -> None:
        self.model, self.penalty, self.n_tasks = model, penalty, 0

    @property
    def n_stored(self) -> int:
        """Numbers of the penalty."""
        return 0 if self.penalty is None else self.penalty.n_stored

    @contextlib.contextmanager
    def training(self, optimizer: torch.optim.Optimizer) -> Generator[None]:
        """Take the implicit steps."""
        penalty = self.penalty
        with contextlib.nullcontext() if penalty is None else ProximalSteps(penalty, self.model, optimizer):
            yield

    def consolidate(self, criterion: Any, data: Any) -> None:  # noqa: ARG002 - arguments of the protocol
        """Count the task."""
        self.n_tasks += 1


class EndSnapshot(HeldPenalty):
    """Protects nothing, but records the window of a task and makes a snapshot of its end.

    Args:
        model: The model in training.
        n_modes: Largest number of modes to find; all by default.
        window: Steps of the window; the trainer sets those of the task by default.
        ratio: Loss at the edges of the valley over that at its bottom.
        seed: Seed of random directions.
    """

    def __init__(
        self,
        model: nn.Module,
        n_modes: int | None = None,
        *,
        window: int | None = None,
        ratio: float = math.e,
        seed: int = 0,
    ) -> None:
        super().__init__(model)
        self.n_modes, self.window, self.ratio, self.seed = n_modes, window, ratio, seed
        self._trajectory: Trajectory | None = None
        self._task: TaskSnapshot | None = None

    @contextlib.contextmanager
    def training(self, optimizer: torch.optim.Optimizer) -> Generator[None]:
        """Record the last steps."""
        with TrajectoryRecorder(self.model, optimizer, last=self.window) as recorder:
            yield
        self._trajectory = recorder.trajectory()

    def consolidate(self, criterion: Any, data: Any) -> None:
        """Make the snapshot, see :class:`landscope.EmpiricalRisk` for the arguments."""
        if self._trajectory is None:
            raise InputError(expected="a recorded training", got="none", hint="Train within memory.training(...).")
        risk = EmpiricalRisk(self.model, criterion, data, space=ParameterSpace.of(self.model))
        self._task = TaskSnapshot(risk, self._trajectory, self.n_modes, seed=self.seed, ratio=self.ratio)
        super().consolidate(criterion, data)

    @property
    def task(self) -> TaskSnapshot:
        """The end of the task.

        Raises:
            InputError: If no task was consolidated.
        """
        if self._task is None:
            raise InputError(expected="a consolidated task", got="none", hint="Call consolidate() first.")
        return self._task


class SelectedOutputs(nn.Module):
    """A network of which only some outputs answer.

    Args:
        body: The network, with all outputs.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body, self.columns = body, slice(None)

    def select(self, outputs: tuple[int, ...] | None) -> None:
        """Let these outputs, which lie side by side, answer from now on; all for None."""
        self.columns = slice(None) if outputs is None else slice(outputs[0], outputs[-1] + 1)

    def forward(self, x: Any) -> Any:
        """``[b, ...] -> [b, outputs]``; annotated loosely because it is also traced."""
        return self.body(x)[:, self.columns]


class ReplayOfSelectedOutputs(Replay):
    """Replay in which samples are answered by the outputs of their own task."""

    def __init__(self, model: nn.Module, *, seed: int) -> None:
        super().__init__(model.body if isinstance(model, SelectedOutputs) else model, seed=seed)
        self._columns = (lambda: model.columns) if isinstance(model, SelectedOutputs) else (lambda: slice(None))

    def consolidate(self, criterion: Callable[..., Tensor], data: Labelled) -> None:
        """Store some samples of this task, its loss, and its outputs."""
        columns = self._columns()
        super().consolidate(lambda outputs, labels: criterion(outputs[:, columns], labels), data)
