"""Every method that keeps earlier tasks behind one protocol, by name: the library's, the baselines, none and joint."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Generator, Mapping
from typing import Any, Literal

import torch
from torch import nn

from landscope._checks import check_choice
from landscope.memory.methods.baselines import L2, MAS
from landscope.memory.methods.basin import Basin
from landscope.memory.methods.fisher import EWC, KFAC
from landscope.memory.methods.ldc import LDC
from landscope.memory.methods.method import Method
from landscope.memory.methods.registry import METHODS
from landscope.memory.methods.snapshot import TaskSnapshot
from landscope.memory.replay.sources import Gaussians
from landscope.memory.replay.sources import Replay as ReplayOf
from landscope.memory.task_memory import TaskMemory
from landscope.parameters import ParameterSpace
from landscope.penalties.proximal import ProximalSteps
from landscope.protocols import Penalty
from landscope.recorder import TrajectoryRecorder
from landscope.reproduction.sequential.ablations import (
    BasinAblation,
    BatchMeanEWC,
    FreshVarianceLDC,
    LeadingEigenvectors,
    LowFloorLDC,
    RandomDirections,
)
from landscope.reproduction.sequential.baselines.interpolation import WeightInterpolation
from landscope.reproduction.sequential.baselines.likely_answers import LikelyAnswersEWC
from landscope.reproduction.sequential.baselines.path_integral import SynapticIntelligence
from landscope.reproduction.sequential.baselines.projection import GradientProjectionMemory, OrthogonalGradientDescent
from landscope.reproduction.sequential.baselines.protocol import Memory
from landscope.reproduction.sequential.baselines.replay import Replay
from landscope.risk.empirical import EmpiricalRisk

__all__ = [
    "BASELINES", "COMPARED", "PSI_METHODS", "UNPROTECTED", "ComparedMethod", "EndSnapshot", "HeldPenalty",
    "MethodSettings", "method_label",
]  # fmt: skip

UNPROTECTED: Mapping[str, str] = {"none": "nothing", "joint": "all tasks so far at once"}
"""Trainings without a penalty, and their labels."""
BASELINES: Mapping[str, str] = {
    "si": "synaptic intelligence",
    "gpm": "GPM",
    "ogd": "OGD, 200 gradients a task",
    "ewc-likely": "EWC, Fisher information of the likeliest answers",
    "replay": "replay, 100 samples a task",
    "gaussians": "replay of class Gaussians of rank 10, with the old answers",
    "interpolation": "interpolation (WiSE-FT), best share",
    "midpoint": "interpolation (WiSE-FT), halfway",
}
"""Methods without a penalty, and their labels."""
_BUDGET_SAMPLES = 100
"""Samples of each earlier task on which a budget measures its loss."""


def decades(first: int, last: int) -> tuple[float, ...]:
    """Two strengths a decade, from ``10^first`` to ``10^last``."""
    return tuple(round(10 ** (k / 2), 10) for k in range(2 * first, 2 * last + 1))


@dataclasses.dataclass(frozen=True)
class ComparedMethod:
    """A method that makes penalties, in the comparisons.

    Args:
        key: Short name that states every option, for file names and the command line.
        label: Name for tables and figures.
        method: The method.
        strengths: Values of lambda to try, rising.
        counts: What a chosen number of is held: modes, single weights (0 for all), or None for all weights.
        measures_flatness: Whether it measures the flatness of every mode that it holds.
        follow_outputs: Whether a memory multiplies its strength where outputs move farther than to first order; None
            for what is usual with the method.
        budget: Share by which the loss of earlier tasks may rise, measured on a few samples; by default the strength
            is constant.
        at_end: Whether the budget is held at the end of each training alone.
    """

    key: str
    label: str
    method: Method
    strengths: tuple[float, ...]
    counts: Literal["modes", "weights"] | None = None
    measures_flatness: bool = False
    follow_outputs: bool | None = None
    budget: float | None = None
    at_end: bool = False


PSI_METHODS: Mapping[int, str] = {
    3: "ldc-variance-psi3-no-floor", 4: "ldc-variance-no-floor", 5: "ldc-variance-psi5-no-floor",
}  # fmt: skip
"""Keys of the paper's constraints with F from the variance, by the exponent psi (paper, Sec. S6)."""

_CONSTRAINT, _CURVATURE = decades(-1, 3), decades(1, 6)
_ROWS = (
    ComparedMethod("basin-default", "basin, default", Basin(), (1.0,)),
    ComparedMethod("basin", "basin, tuned", Basin(), decades(-1, 3)),
    ComparedMethod("basin-fixed", "basin, strength 1 throughout", Basin(), (1.0,), follow_outputs=False),
    ComparedMethod("basin-budget", "basin, budget of 5 %", Basin(), (1.0,), budget=0.05),
    ComparedMethod(
        "basin-budget-at-end", "basin, budget of 5 % held at the end", Basin(), (1.0,), budget=0.05, at_end=True
    ),
    ComparedMethod("basin-at-minimum", "basin, curvature at the minimum alone", BasinAblation(ratio=1.001), (1.0,)),
    ComparedMethod("basin-ratio-1.5", "basin of 1.5 times the loss", BasinAblation(ratio=1.5), (1.0,)),
    ComparedMethod("basin-ratio-10", "basin of 10 times the loss", BasinAblation(ratio=10.0), (1.0,)),
    ComparedMethod("basin-points-2", "basin of 2 points", Basin(n_points=2), (1.0,)),
    ComparedMethod("basin-points-32", "basin of 32 points", Basin(n_points=32), (1.0,)),
    ComparedMethod("basin-of-loss", "basin, curvature of L, tuned", BasinAblation(of_loss=True), _CURVATURE),
    ComparedMethod("basin-products", "basin, one product a task", BasinAblation(is_merged=False), (1.0,)),
    ComparedMethod(
        "basin-anchored",
        "basin, one product a task about its own weights",
        BasinAblation(is_merged=False, is_moved=False),
        (1.0,),
    ),
    ComparedMethod("ldc-floor", "LDC with floor", LDC(), _CONSTRAINT, "modes", True),
    ComparedMethod("ldc-no-floor", "LDC, no floor", LDC(floor=False), _CONSTRAINT, "modes", True),
    ComparedMethod("ldc-factored", "LDC, factored", LDC(factored=True), _CONSTRAINT, "modes", True),
    ComparedMethod("ldc-variance-floor", "LDC with floor, F from psi = 4", LDC("variance"), _CONSTRAINT, "modes"),
    ComparedMethod(
        "ldc-variance-factored", "LDC, F from psi = 4, factored", LDC("variance", factored=True), _CONSTRAINT, "modes"
    ),
    ComparedMethod("ldc-low-floor", "LDC with a lower floor", LowFloorLDC(), _CONSTRAINT, "modes", True),
    ComparedMethod(
        "ldc-fresh", "LDC with floor, F from psi = 4 and fresh steps", FreshVarianceLDC(), _CONSTRAINT, "modes"
    ),
    *(
        ComparedMethod(
            key, f"LDC, no floor, F from psi = {psi}", LDC("variance", psi=psi, floor=False), _CONSTRAINT, "modes"
        )
        for psi, key in PSI_METHODS.items()
    ),
    ComparedMethod("ewc", "EWC, exact Fisher", EWC("exact"), _CURVATURE, "weights"),
    ComparedMethod("ewc-empirical", "EWC, empirical Fisher", EWC("empirical"), _CURVATURE, "weights"),
    ComparedMethod("ewc-batch-mean", "EWC, batch-mean Fisher", EWC("batch-mean"), _CURVATURE, "weights"),
    ComparedMethod("ewc-batch-256", "EWC, Fisher information of means over 256 samples", BatchMeanEWC(256), _CURVATURE),
    ComparedMethod("kfac", "EWC, Kronecker factors", KFAC(), _CURVATURE),
    ComparedMethod(
        "kfac-following", "EWC, Kronecker factors, following the outputs", KFAC(), _CURVATURE, follow_outputs=True
    ),
    ComparedMethod("mas", "memory-aware synapses", MAS(), _CURVATURE),
    ComparedMethod("hessian", "Hessian, leading", LeadingEigenvectors("Hessian"), _CURVATURE, "modes"),
    ComparedMethod("fisher", "Fisher, leading", LeadingEigenvectors("Fisher"), _CURVATURE, "modes"),
    ComparedMethod("random", "random directions", RandomDirections(), _CONSTRAINT, "modes", True),
    ComparedMethod("l2", "distance from w1", L2(), decades(-3, 2)),
)
_OTHERS = [
    ComparedMethod(name, name, method, _CURVATURE)
    for name, method in METHODS.items()
    if name not in {row.method.name for row in _ROWS}
]
COMPARED: Mapping[str, ComparedMethod] = {row.key: row for row in (*_ROWS, *_OTHERS)}
"""All methods that make penalties, by key; a new method of the memory is compared without an entry here."""


def method_label(method: str) -> str:
    """Label of a method, for tables and figures."""
    return COMPARED[method].label if method in COMPARED else {**UNPROTECTED, **BASELINES}[method]


@dataclasses.dataclass(frozen=True)
class MethodSettings:
    """A method and its numbers.

    Args:
        method: A key of :data:`COMPARED`, :data:`BASELINES` or :data:`UNPROTECTED`.
        strength: lambda; c of synaptic intelligence, the threshold of GPM, the share of new weights of interpolation;
            None for a method's default, or for none.
        n_modes: Directions constrained for each task, at most as many as its weights moved along; of elastic weight
            consolidation in Fig. 4, weights.
        rank: Directions that all tasks together may keep; all by default.
        window: Last steps of a task in which its modes are found; by default those of the training's window.
        added: Whether a penalty is added to the loss, as in most programs, instead of taken as implicit steps.

    Raises:
        InputError: If the method is unknown.
    """

    method: str
    strength: float | None = None
    n_modes: int = 0
    rank: int | None = None
    window: int | None = None
    added: bool = False

    def __post_init__(self) -> None:
        check_choice("method", self.method, (*UNPROTECTED, *COMPARED, *BASELINES))

    @property
    def takes_modes(self) -> bool:
        """Whether it constrains directions, rather than all weights."""
        return self.method in COMPARED and COMPARED[self.method].counts == "modes"

    @property
    def needs_recording(self) -> bool:
        """Whether it needs the recorded window of a task."""
        return self.method in COMPARED and COMPARED[self.method].method.needs_recording

    @property
    def file_name(self) -> str:
        """The name of its results in a folder."""
        parts = [self.method, *([] if self.strength is None else [f"{self.strength:g}"])]
        parts += [f"{self.n_modes}"] if self.takes_modes else []
        parts += ["added"] if self.added else []
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
        """
        select = _all_but_last_layer(model) if shared_only else None
        if self.method in COMPARED:
            memory = TaskMemory(
                model, select, method=COMPARED[self.method].method, strength=self.strength, rank=self.rank,
                n_modes=max(1, self.n_modes), window=self.window or 500, implicit=not self.added,
                follow_outputs=COMPARED[self.method].follow_outputs,
            )  # fmt: skip
            if (rise := COMPARED[self.method].budget) is not None:
                memory.budget(rise, samples=_BUDGET_SAMPLES, at_end=COMPARED[self.method].at_end)
            return memory
        makers: Mapping[str, Callable[[], Memory]] = {
            "si": lambda: SynapticIntelligence(model, select, strength=self.value),
            "gpm": lambda: GradientProjectionMemory(model, select, threshold=self.value),
            "ogd": lambda: OrthogonalGradientDescent(model, select, seed=seed),
            "ewc-likely": lambda: LikelyAnswersEWC(model, select, strength=self.value),
            "replay": lambda: Replay(model, seed=seed),
            "gaussians": lambda: TaskMemory(model, method=None, replay=ReplayOf(50, Gaussians(10), seed=seed)),
            "interpolation": lambda: WeightInterpolation(model, share=0.5 if math.isnan(self.value) else self.value),
            "midpoint": lambda: WeightInterpolation(model),
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
        self.model, self.penalty = model, penalty

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

    def consolidate(self, criterion: Any, data: Any) -> None:
        """Learn nothing."""


class EndSnapshot(HeldPenalty):
    """Protects nothing, but records the window of a task and makes a snapshot of its end.

    Args:
        model: The model in training.
        n_modes: Largest number of modes to find; all by default.
        ratio: Loss at the edges of the valley over that at its bottom.
        seed: Seed of random directions.
    """

    window: int | None = None
    """Steps of the window, which the trainer sets; all by default."""
    task: TaskSnapshot
    """The end of the task, once it is consolidated."""

    def __init__(self, model: nn.Module, n_modes: int | None = None, *, ratio: float = math.e, seed: int = 0) -> None:
        super().__init__(model)
        self.n_modes, self.ratio, self.seed = n_modes, ratio, seed

    @contextlib.contextmanager
    def training(self, optimizer: torch.optim.Optimizer) -> Generator[None]:
        """Record the last steps."""
        with TrajectoryRecorder(self.model, optimizer, last=self.window) as recorder:
            yield
        self._trajectory = recorder.trajectory()

    def consolidate(self, criterion: Any, data: Any) -> None:
        """Make the snapshot."""
        risk = EmpiricalRisk(self.model, criterion, data, space=ParameterSpace.of(self.model))
        self.task = TaskSnapshot(risk, self._trajectory, self.n_modes, seed=self.seed, ratio=self.ratio)
