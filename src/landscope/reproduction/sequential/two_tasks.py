"""Two tasks: one first task, and many trials to learn the second from there."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from landscope.errors import InputError
from landscope.parameters import ParameterSpace
from landscope.protocols import ProgressCallback, silent
from landscope.reproduction.sequential.continual_result import ContinualResult
from landscope.reproduction.sequential.first_task import FirstTask
from landscope.reproduction.sequential.methods import COMPARED, MethodSettings
from landscope.reproduction.sequential.preparation import SequentialTraining
from landscope.results import Result, stamp

__all__ = ["TwoTaskTrials", "run_trials"]

_ROWS = ("strength", "n_modes", "n_stored", "build_seconds", "step_seconds")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TwoTaskTrials(
    Result,
    kind="two_task_trials",
    dims={
        **dict.fromkeys(_ROWS, ("trial",)), "step": ("step",), "error": ("trial", "step", "task"),
        "displacement": ("moved", "step", "mode"), "flatness": ("mode",), "variance": ("mode",),
    },
):  # fmt: skip
    """Errors of two tasks while the second is learnt, by trial.

    Args:
        method: Method of each trial.
        strength: lambda of each trial.
        n_modes: Directions, or weights, that each trial constrains.
        n_stored: Numbers of its penalty.
        build_seconds: Seconds to make it, with the modes and the flatness that several trials share.
        step_seconds: Seconds of one training step with it.
        step: Minibatches of the second task, 0 first.
        error: Share of wrong answers on the test data of each task.
        moved: Numbers of the trials whose displacements are kept.
        displacement: q_i, distance that their weights moved along the modes of the first task.
        flatness: F_i along these modes, of the first task.
        variance: sigma_i^2 along them.
        n_moving: Modes along which the weights moved more than rounding.
        dim: Number of weights, N.
        learnt: Whether the first task had no training error when its window began.
        tasks: Names of the tasks.
    """

    method: tuple[str, ...]
    strength: Float[Tensor, " trials"]
    n_modes: Int[Tensor, " trials"]
    n_stored: Int[Tensor, " trials"]
    build_seconds: Float[Tensor, " trials"]
    step_seconds: Float[Tensor, " trials"]
    step: Int[Tensor, " steps"]
    error: Float[Tensor, "trials steps tasks"]
    moved: tuple[int, ...]
    displacement: Float[Tensor, "moved steps k"]
    flatness: Float[Tensor, " k"]
    variance: Float[Tensor, " k"]
    n_moving: int
    dim: int
    learnt: bool
    tasks: tuple[str, ...]

    def trials_of(self, method: str, n_modes: int) -> list[int]:
        """Numbers of the trials of a method; if more modes were asked for than moved, of those with all that moved."""
        held = n_modes if _counts_weights(method) else min(n_modes, self.n_moving)
        rows = enumerate(zip(self.method, self.n_modes.tolist(), strict=True))
        return [number for number, (name, count) in rows if name == method and count == held]

    def strengths(self, method: str, n_modes: int) -> list[float]:
        """Strengths that a method was tried with, rising; none for methods without."""
        strengths = {float(self.strength[number]) for number in self.trials_of(method, n_modes)}
        return sorted(strength for strength in strengths if not math.isnan(strength))

    def errors(self, method: str, strength: float, n_modes: int, step: int) -> Float[Tensor, " tasks"]:
        """Test errors of both tasks in one trial at one step; a strength of NaN is none.

        Raises:
            InputError: If there was no such trial or step.
        """
        steps = self.step.tolist()
        for number in self.trials_of(method, n_modes):
            same = math.isnan(strength) or math.isclose(float(self.strength[number]), strength, rel_tol=1e-6)
            if same and step in steps:
                return self.error[number, steps.index(step)]
        raise InputError(
            expected="a trial that was made",
            got=f"{method}, lambda {strength:g}, {n_modes} directions, step {step}",
            hint="Add it to the trials.",
        )

    def error_by_count(self, method: str, strength: float, step: int) -> dict[int, float]:
        """Summed error at one strength, by the number of directions constrained."""
        place = self.step.tolist().index(step)
        rows = zip(self.method, self.strength.tolist(), self.n_modes.tolist(), strict=True)
        return {
            count: float(self.error[number, place].sum())
            for number, (name, tried, count) in enumerate(rows)
            if name == method and math.isclose(tried, strength, rel_tol=1e-6)
        }


def _counts_weights(method: str) -> bool:
    return method in COMPARED and COMPARED[method].counts == "weights"


def run_trials(
    prepared: SequentialTraining,
    trials: Sequence[MethodSettings],
    watch: Sequence[int],
    *,
    n_modes: int | None = None,
    moved: Collection[int] = (),
    progress: ProgressCallback = silent,
) -> TwoTaskTrials:
    """Learn the first of two tasks, then the second once for each trial, always from the end of the first.

    Args:
        prepared: A network and two tasks.
        trials: Methods to try; a trial with more modes than moved constrains all that moved.
        watch: Steps of the second task at which both are tested, rising.
        n_modes: Most modes of the first task; all by default.
        moved: Numbers of the trials whose displacements along the modes are kept.
        progress: Called with the number of trials that are done, and of all.
    """
    model, training = prepared.model, prepared.training
    first = FirstTask(model, prepared.tasks, training, n_modes, seed=training.order(0))
    w1, most, space = first.snapshot.w1, first.modes.n_moving, ParameterSpace.of(model)
    counts = [trial.n_modes if _counts_weights(trial.method) else min(trial.n_modes, most) for trial in trials]
    known = max([1, *(n for trial, n in zip(trials, counts, strict=True) if not _counts_weights(trial.method))])
    widths = first.widths(known)
    second = dataclasses.replace(training, max_steps=max(watch))
    results: list[ContinualResult] = []
    distances: list[Tensor] = []
    for number, (trial, count) in enumerate(zip(trials, counts, strict=True)):
        weights: list[Tensor] = []

        def keep_weights(*_: object, weights: list[Tensor] = weights) -> None:
            weights.append(space.flatten(model))

        observed = keep_weights if number in moved else None
        results.append(first.learn_second(trial, count, second, watch={0, *watch}, on_observation=observed))
        if weights:
            along = first.modes.directions[:most].to(w1)
            distances.append(((torch.stack(weights) - w1) @ along.T).abs().double()[:, :known])
        progress(number + 1, len(trials))
    return TwoTaskTrials(
        method=tuple(trial.method for trial in trials),
        strength=torch.tensor([trial.value for trial in trials], dtype=torch.float64),
        n_modes=torch.tensor(counts),
        n_stored=torch.stack([result.n_stored[-1] for result in results]),
        build_seconds=torch.stack([result.consolidation_seconds[0] for result in results]),
        step_seconds=torch.stack([result.seconds[-1] for result in results]) / max(watch),
        step=torch.tensor([0, *watch]),
        error=torch.stack([result.watched_error for result in results]),
        moved=tuple(sorted(moved)),
        displacement=torch.stack(distances) if distances else torch.zeros(0, len(watch) + 1, known).double(),
        flatness=widths,
        variance=first.modes.variance[:known].double(),
        n_moving=most,
        dim=len(w1),
        learnt=bool(first.result.learnt[0]),
        tasks=tuple(task.name for task in prepared.tasks),
        provenance=stamp(**training.settings()),
    )
