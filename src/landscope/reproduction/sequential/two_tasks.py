"""What learning a second task does to the first, under many penalties."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from landscope.reproduction.sequential.ablations import COMPARED, UNPROTECTED
from landscope.reproduction.sequential.course import Course
from landscope.reproduction.sequential.penalty_cache import TimedPenalties
from landscope.reproduction.sequential.task_data import joined_tasks
from landscope.results import Result, stamp

__all__ = ["Forgetting", "Trial", "measure_forgetting"]

_ROWS = ("strength", "n_modes", "n_stored", "build_seconds", "step_seconds")


@dataclasses.dataclass(frozen=True)
class Trial:
    """One way to learn the second task.

    Args:
        method: A key of :data:`ablations.COMPARED`, or ``"none"``, or ``"joint"`` for both tasks at once.
        strength: lambda.
        n_modes: Directions, or weights, that are held.
        moved: Whether to keep how far the weights moved along the modes.
    """

    method: str
    strength: float = math.nan
    n_modes: int = 0
    moved: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Forgetting(
    Result,
    kind="forgetting",
    dims={
        **dict.fromkeys(_ROWS, ("trial",)), "step": ("step",), "error": ("trial", "step", "task"),
        "displacement": ("moved", "step", "mode"), "flatness": ("mode",), "variance": ("mode",),
    },
):  # fmt: skip
    """Errors of two tasks while the second is learnt, by trial.

    Args:
        method: Of each trial.
        strength: lambda of each.
        n_modes: Directions, or weights, that each holds.
        n_stored: Numbers that its penalty holds.
        build_seconds: To make it, with the modes and the flatness that several share.
        step_seconds: Of one step of training with it.
        step: Minibatches of the second task, 0 first.
        error: Share of wrong answers on the test data of each task.
        moved: Numbers of the trials whose displacements are kept.
        displacement: q_i, how far their weights moved along the modes of the first task.
        flatness: F_i along them, of the first task.
        variance: sigma_i^2 along them.
        n_moving: Modes along which the weights moved more than rounding.
        dim: Number of weights, N.
        learnt: Whether the first task had no training error when its window began.
        tasks: Their names.
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
        """Numbers of the trials of a method; where more modes were asked for than moved, those with all of them."""
        held = n_modes if _counts_weights(method) else min(n_modes, self.n_moving)
        rows = enumerate(zip(self.method, self.n_modes.tolist(), strict=True))
        return [number for number, (name, count) in rows if name == method and count == held]


def measure_forgetting(
    course: Course,
    trials: Sequence[Trial],
    watch: Sequence[int],
    progress: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005 - a progress callback
) -> Forgetting:
    """Learn the first of two tasks, then the second once for each trial, always from where the first ended.

    Args:
        course: Of two tasks.
        trials: What to try; those that ask for more modes than the window has are done with as many as it has.
        watch: Steps of the second task at which both are tested, rising.
        progress: Told how many trials are done.

    Returns:
        All errors.
    """
    task = course.finish(0)
    both = joined_tasks(course.tasks).train
    most = task.modes.n_moving
    known = max([1, *(min(trial.n_modes, most) for trial in trials if not _counts_weights(trial.method))])
    task.flatness(known)
    penalties = TimedPenalties(task)
    rows: list[list[float]] = []
    errors, moves, moved = [], [], []
    for number, trial in enumerate(trials):
        count = trial.n_modes if _counts_weights(trial.method) else min(trial.n_modes, most)
        unprotected = trial.method in UNPROTECTED
        penalty, seconds = (None, 0.0) if unprotected else penalties(trial.method, trial.strength, count)
        watched, taken = course.learn(1, watch, penalty, both if trial.method == "joint" else None)
        stored = 0 if penalty is None else penalty.n_stored
        rows.append([trial.strength, count, stored, seconds, taken / max(watch)])
        errors.append(watched.errors)
        if trial.moved:
            moved.append(number)
            along = task.modes.directions[:most].to(watched.weights)
            moves.append(((watched.weights - task.w1) @ along.T).abs().double())
        progress(number + 1, len(trials))
    columns = torch.tensor(rows, dtype=torch.float64).T
    return Forgetting(
        method=tuple(trial.method for trial in trials),
        strength=columns[0],
        n_modes=columns[1].long(),
        n_stored=columns[2].long(),
        build_seconds=columns[3],
        step_seconds=columns[4],
        step=torch.tensor([0, *watch]),
        error=torch.stack(errors),
        moved=tuple(moved),
        displacement=torch.stack(moves)[..., :known] if moves else torch.zeros(0, len(watch) + 1, known).double(),
        flatness=task.flatness(known).width,
        variance=task.modes.variance[:known].double(),
        n_moving=most,
        dim=len(task.w1),
        learnt=task.learnt,
        tasks=tuple(one.name for one in course.tasks),
        provenance=stamp(seed=course.seed, batch_size=course.learner.batch_size),
    )


def _counts_weights(method: str) -> bool:
    return method in COMPARED and COMPARED[method].takes_weights
