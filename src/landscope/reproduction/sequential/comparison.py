"""Methods compared: each at the strength that other seeds found best."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.errors import InputError
from landscope.reproduction.sequential.two_tasks import Forgetting

__all__ = ["Tuned", "at_strength", "error_by_count", "errors_of", "front", "strengths_of", "tuned"]


@dataclasses.dataclass(frozen=True)
class Tuned:
    """A method at one stop.

    Args:
        method: A key of the methods.
        n_modes: Directions, or weights, that were asked for.
        step: Minibatches of the second task.
        strength: lambda, of the smallest summed error on the tuning seeds; NaN where there is none to choose.
        at_edge: Whether that is the first or last that was tried.
        errors: On the reported seeds, ``[seeds, tasks]``.
    """

    method: str
    n_modes: int
    step: int
    strength: float
    at_edge: bool
    errors: Float[Tensor, "seeds tasks"]

    @property
    def summed(self) -> list[float]:
        """Summed error of each seed."""
        return self.errors.sum(dim=1).tolist()


def errors_of(found: Forgetting, method: str, strength: float, n_modes: int, step: int) -> Float[Tensor, " tasks"]:
    """Test errors of both tasks in one trial at one step.

    Args:
        found: All trials of a seed.
        method: Which.
        strength: lambda; NaN for none.
        n_modes: Asked for; where the window has fewer, the trial with all it has.
        step: Minibatches.

    Raises:
        InputError: If there was no such trial or step.
    """
    steps = found.step.tolist()
    for number in found.trials_of(method, n_modes):
        same = math.isnan(strength) or math.isclose(float(found.strength[number]), strength, rel_tol=1e-6)
        if same and step in steps:
            return found.error[number, steps.index(step)]
    raise InputError(
        expected="a trial that was made",
        got=f"{method}, lambda {strength:g}, {n_modes} directions, step {step}",
        hint="Add it to the trials.",
    )


def strengths_of(found: Forgetting, method: str, n_modes: int) -> list[float]:
    """The strengths a method was tried with, rising; none for methods without."""
    strengths = {float(found.strength[number]) for number in found.trials_of(method, n_modes)}
    return sorted(strength for strength in strengths if not math.isnan(strength))


def tuned(
    method: str,
    n_modes: int,
    step: int,
    reported: Sequence[Forgetting],
    tuning: Sequence[Forgetting],
    among: Collection[float] | None = None,
) -> Tuned:
    """A method at the strength of the smallest mean summed error on the tuning seeds.

    Args:
        method: Which.
        n_modes: Directions, or weights, that were asked for.
        step: Stop.
        reported: Seeds whose errors are given.
        tuning: Other seeds, on which the strength is chosen.
        among: Strengths to choose from; all that were tried by default.
    """
    tried = strengths_of(tuning[0], method, n_modes)
    strengths = tried if among is None else [strength for strength in tried if strength in among]
    if not strengths:
        best = math.nan
    else:
        means = [
            float(torch.stack([errors_of(one, method, s, n_modes, step).sum() for one in tuning]).mean())
            for s in strengths
        ]
        best = strengths[means.index(min(means))]
    return at_strength(method, best, n_modes, step, reported, at_edge=best in (strengths[:1] + strengths[-1:]))


def at_strength(
    method: str, strength: float, n_modes: int, step: int, reported: Sequence[Forgetting], *, at_edge: bool = False
) -> Tuned:
    """A method at a given strength."""
    errors = torch.stack([errors_of(one, method, strength, n_modes, step) for one in reported])
    return Tuned(method, n_modes, step, strength, at_edge, errors)


def front(
    method: str, n_modes: int, step: int, reported: Sequence[Forgetting]
) -> list[tuple[float, Float[Tensor, " tasks"]]]:
    """Strengths, rising, and the mean errors of both tasks at each."""
    strengths = strengths_of(reported[0], method, n_modes)
    return [(s, at_strength(method, s, n_modes, step, reported).errors.mean(dim=0)) for s in strengths]


def error_by_count(found: Forgetting, method: str, strength: float, step: int) -> dict[int, float]:
    """Summed error of one seed at one strength, by the number of directions that are held."""
    place = found.step.tolist().index(step)
    rows = zip(found.method, found.strength.tolist(), found.n_modes.tolist(), strict=True)
    return {
        count: float(found.error[number, place].sum())
        for number, (name, s, count) in enumerate(rows)
        if name == method and math.isclose(s, strength, rel_tol=1e-6)
    }
