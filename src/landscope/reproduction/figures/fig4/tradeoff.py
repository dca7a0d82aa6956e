"""Fig. 4B and E: where the free weights go, and the errors of both tasks over strengths when both are learnt out."""

from __future__ import annotations

import math
import statistics

import torch
from scipy import stats
from torch import Tensor

from landscope.claims.verdict import Claim, Control, Measurement
from landscope.law.intervals import seed_interval
from landscope.reproduction.figures.two_task_experiment import PAPER_METHOD, TwoTaskResults
from landscope.reproduction.sequential.two_tasks import TwoTaskTrials

__all__ = ["PAPER_BOUND", "TRADEOFF_CLAIMS", "better_share", "tradeoff_measurements"]

PAPER_BOUND = 0.008
"""q/F of Fig. 4D."""
_LEADING = 0.1
"""Share of the constrained modes that counts as leading."""
_LEVELS = 25

TRADEOFF_CLAIMS = (
    Claim(
        "free_displacement",
        "Fig. 4B",
        "Without constraints the weights leave the bound of Fig. 4D along many leading modes (share of the leading"
        " tenth with q > 0.008 F).",
        "unbounded for many modes of high rank",
        (0.5, 1.0),
        "most of the leading tenth",
        "the same modes with constraints",
        possible=(0.0, 1.0),
    ),
    Claim(
        "free_displacement_by_rank",
        "Fig. 4B",
        "Without constraints the displacement is largest along the leading modes (rank correlation of q with rank).",
        "modes of smaller i",
        (-1.0, -0.3),
        "a visible trend over single displacements, which scatter by as much as they are",
        "an equal displacement in all directions, which knows no rank",
        possible=(-1.0, 1.0),
    ),
    Claim(
        "saturated_tradeoff",
        "Fig. 4E",
        "When both tasks are learnt out, constraints on modes have the smaller second error at the same first error"
        " (share of the levels that either curve reaches).",
        "better than EWC",
        (0.5, 1.0),
        "more levels than not",
        "all strengths of both methods after five epochs, seed by seed; ties count half",
        possible=(0.0, 1.0),
    ),
)


def tradeoff_measurements(results: TwoTaskResults) -> dict[str, Measurement]:
    """Measure the free displacements after an epoch, and the two curves of errors at the last stop.

    Args:
        results: Results with layers that were pretrained on the tasks' own classes, as in the paper.
    """
    step, late = results.epoch, results.stops[2]
    with_constraints = [_share_beyond(trials, PAPER_METHOD, step) for trials in results.reported]
    held = Control("the same modes with constraints", seed_interval(with_constraints), "differ")
    free = [_share_beyond(trials, "none", step) for trials in results.reported]
    return {
        "free_displacement": Measurement.over_seeds(free, held),
        "free_displacement_by_rank": _by_rank(results, step),
        "saturated_tradeoff": _tradeoff(results, late),
    }


def _moved(trials: TwoTaskTrials, method: str, step: int) -> tuple[Tensor, Tensor]:
    """q_i and F_i of the constrained modes."""
    (row,) = (row for row, number in enumerate(trials.moved) if trials.method[number] == method)
    count = max(int(trials.n_modes[number]) for number in trials.moved)
    return trials.displacement[row, trials.step.tolist().index(step)][:count], trials.flatness[:count]


def _share_beyond(trials: TwoTaskTrials, method: str, step: int) -> float:
    displacement, width = _moved(trials, method, step)
    leading = slice(max(1, round(_LEADING * len(width))))
    known = torch.isfinite(width[leading])
    beyond = (displacement > PAPER_BOUND * width)[leading][known]
    return float(beyond.double().mean()) if len(beyond) else math.nan


def _by_rank(results: TwoTaskResults, step: int) -> Measurement:
    moved = [_moved(trials, "none", step)[0].numpy() for trials in results.reported]
    values = [
        float(stats.spearmanr(range(len(q)), q).statistic) if len(q) > 2 and q.min() < q.max() else math.nan
        for q in moved
    ]
    # One seed scatters by (n - 1)^(-1/2) about zero where modes do not count, the mean over seeds by less.
    chance = 1.96 / math.sqrt(max(1, min(map(len, moved)) - 1) * len(moved))
    control = Control(
        "an equal displacement in all directions", (-chance, 1.0), "differ", f"stays above {-chance:.2f} (95 %)"
    )
    return Measurement.over_seeds(values, control)


def _tradeoff(results: TwoTaskResults, step: int) -> Measurement:
    """The share of levels won against EWC; the distance from w1, which knows no landscape, is the null."""
    values = {
        method: [_seed_share(trials, method, results.n_modes, step) for trials in results.reported]
        for method in (PAPER_METHOD, "l2")
    }
    null = [value for value in values["l2"] if not math.isnan(value)]
    controls = (
        Control("the distance from w1 instead", seed_interval(null), "differ"),
        Control("two equal curves", (0.5, 0.5), "differ", "have a half"),
    )
    known = [value for value in values[PAPER_METHOD] if not math.isnan(value)]
    if not known:
        return Measurement(math.nan, note="all errors of the first task are equal")
    before = max(other for other in results.reported[0].step.tolist() if other < step)
    change = statistics.fmean(_late_change(trials, before, step) for trials in results.reported)
    note = f"from {before} to {step} minibatches the summed errors change by {100 * change:+.1f} points, mean of curves"
    return Measurement.over_seeds(known, *controls, note=note)


def _seed_share(trials: TwoTaskTrials, method: str, n_modes: int, step: int) -> float:
    count = 0 if method == "l2" else n_modes
    return better_share(_curve(trials, method, count, step), _curve(trials, "ewc", 0, step))


def _curve(trials: TwoTaskTrials, method: str, n_modes: int, step: int) -> Tensor:
    """Errors of both tasks at every strength, ``[strengths, 2]``; plain training is the strength zero of each."""
    rows = [trials.errors(method, strength, n_modes, step) for strength in trials.strengths(method, n_modes)]
    return torch.stack([trials.errors("none", math.nan, 0, step), *rows])[:, [0, -1]]


def _late_change(trials: TwoTaskTrials, before: int, step: int) -> float:
    curves = [
        [_curve(trials, PAPER_METHOD, int(trials.n_modes[trials.moved[-1]]), at), _curve(trials, "ewc", 0, at)]
        for at in (before, step)
    ]
    return float(torch.cat(curves[1]).sum(dim=1).mean() - torch.cat(curves[0]).sum(dim=1).mean())


def better_share(own: Tensor, other: Tensor) -> float:
    r"""Share of levels of the first error at which one curve has a smaller second error than another.

    At a level x a curve has the smallest second error of its points with a first error of at most x. Levels are
    equally spaced from the smallest first error of both curves to the largest; a curve that does not reach a level
    loses it, and where the two are equal it counts half.

    Args:
        own: Errors of both tasks at each strength, ``[strengths, 2]``.
        other: The same of the other curve.

    Returns:
        The share; NaN where all first errors are equal.

    Example:
        >>> better_share(torch.tensor([[0.0, 0.1], [1.0, 0.0]]), torch.tensor([[0.0, 0.2], [1.0, 0.1]]))
        1.0
    """
    low = min(float(curve[:, 0].min()) for curve in (own, other))
    high = max(float(curve[:, 0].max()) for curve in (own, other))
    if not high > low:
        return math.nan
    levels = torch.linspace(low, high, _LEVELS, dtype=torch.float64)

    def smallest(curve: Tensor) -> Tensor:
        first, second = curve[:, 0].double(), curve[:, 1].double()
        return torch.where(first[None] <= levels[:, None], second[None], math.inf).min(dim=1).values

    one, two = smallest(own), smallest(other)
    return float(((one < two).double() + 0.5 * (one == two).double()).mean())
