"""The claims of Fig. 4 and their measurements."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from landscope.claims.verdict import Claim, Control, Measurement
from landscope.law.intervals import seed_interval
from landscope.reproduction.figures.fig4.tradeoff import PAPER_BOUND, TRADEOFF_CLAIMS, tradeoff_measurements
from landscope.reproduction.figures.two_task_experiment import (
    PAPER_METHOD,
    PAPER_MODES,
    PAPER_STRENGTH,
    TwoTaskResults,
    against_ewc,
    fewest_modes,
)
from landscope.reproduction.sequential.continual_result import ContinualResult
from landscope.reproduction.sequential.two_tasks import TwoTaskTrials

__all__ = ["CLAIMS", "PAPER_BOUND", "measurements", "single_seed_measurements"]

_PERCENT = (0.0, 100.0)

CLAIMS = (
    Claim(
        "forgetting",
        "Fig. 4A",
        "Learning a second task without constraints destroys the first (its test error after an epoch, per cent).",
        "increases fast",
        (20.0, 100.0),
        "clearly more than the error of about 0.1 before",
        "digits 0 and 1, then 2 and 3, one epoch; ten seeds",
        possible=_PERCENT,
    ),
    Claim(
        "constraint_keeps",
        "Fig. 4C",
        "Constraints on 200 modes at lambda = 10 protect the first task (its test error after an epoch, per cent).",
        "roughly the same as before",
        (0.0, 3.0),
        "an error of 0.1 may rise by as much as the second task's own error, about 2",
        "measured flatness, no floor, as an implicit step; beside as many random directions, as stiff",
        possible=_PERCENT,
    ),
    Claim(
        "constraint_learns",
        "Fig. 4C",
        "With them the second task is still learnt (its test error after an epoch, minus that without, in points).",
        "comparable",
        (-1.0, 1.0),
        "a point",
        "seed by seed",
    ),
    Claim(
        "constraint_lasts",
        "Fig. 4E",
        "The first task stays protected when the second is learnt to the end (its test error after five epochs, per"
        " cent).",
        "saturated errors are low",
        (0.0, 3.0),
        "as for one epoch",
        "the same runs, trained on",
        possible=_PERCENT,
    ),
    Claim(
        "displacement_bound",
        "Fig. 4D",
        "The displacement along each constrained mode is bounded by its flatness (95th percentile of q/F).",
        "0.008",
        (0.0, 0.016),
        "twice the paper's bound",
        "95th percentile over 200 modes after an epoch; beside that without constraint",
        possible=(0.0, math.inf),
    ),
    Claim(
        "better_than_ewc",
        "Fig. 4E",
        "Constraints on modes do better than elastic weight consolidation (difference of summed errors, in points).",
        "better",
        (-100.0, 0.0),
        "the sign",
        "each at the strength that other seeds found best, after an epoch; EWC with the exact Fisher information",
    ),
    Claim(
        "few_modes_suffice",
        "Fig. 4F",
        "About 200 modes suffice (fewest modes within a tenth of the smallest summed error).",
        "about 200",
        (100.0, 300.0),
        "a factor near 1.5 to 2",
        "lambda = 10, after an epoch, no floor",
    ),
    Claim(
        "ewc_needs_all",
        "Fig. 4F",
        "Elastic weight consolidation is best when all weights are held (share of weights at its best).",
        "all",
        (0.9, 1.0),
        "a tenth may be missing",
        "the weights of largest exact Fisher information, lambda chosen on other seeds for each number",
        possible=(0.0, 1.0),
    ),
    *TRADEOFF_CLAIMS,
)


def measurements(results: TwoTaskResults) -> dict[str, Measurement]:
    """Measurements of the claims in per cent, by claim.

    Args:
        results: Results with layers that were pretrained on the tasks' own classes, as in the paper.
    """
    epoch, late = results.epoch, results.stops[2]
    plain, constrained = results.at("none", math.nan, epoch, 0), results.at(PAPER_METHOD, PAPER_STRENGTH, epoch)
    constrained_late = results.at(PAPER_METHOD, PAPER_STRENGTH, late)
    return {
        "forgetting": Measurement.over_seeds(plain.of_task(0)),
        "constraint_keeps": Measurement.over_seeds(constrained.of_task(0), _random(results, epoch)),
        "constraint_learns": Measurement.over_seeds(constrained.of_task(-1), minus=plain.of_task(-1)),
        "constraint_lasts": Measurement.over_seeds(constrained_late.of_task(0), _random(results, late)),
        "displacement_bound": _bound(results),
        "better_than_ewc": against_ewc(results),
        "few_modes_suffice": _best_count(results),
        "ewc_needs_all": _ewc_share(results),
        **tradeoff_measurements(results),
    }


def single_seed_measurements(results: Sequence[ContinualResult], step: int) -> dict[str, Measurement]:
    """Measurements of one seed in the paper's setting: errors of the first task after an epoch of the second.

    Args:
        results: Plain training and methods, watched while they learnt.
        step: Minibatches of an epoch of the second task.
    """
    measured = {}
    for result in results:
        late = ((result.watched_task == 1) & (result.watched_step >= step)).nonzero()
        is_paper = result.method == PAPER_METHOD and math.isclose(result.strength, PAPER_STRENGTH)
        constrained = is_paper and result.n_modes == PAPER_MODES
        key = "forgetting" if result.method == "none" else "constraint_keeps" if constrained else None
        if key and len(late):
            place = int(late[0])
            note = f"one seed, after {int(result.watched_step[place])} minibatches"
            measured[key] = Measurement(100 * float(result.watched_error[place, 0]), note=note, no_interval="one seed")
    return measured


def _random(results: TwoTaskResults, step: int) -> Control:
    errors = results.at("random", PAPER_STRENGTH, step).of_task(0)
    return Control("as many random directions, as stiff", seed_interval(errors), "differ")


def _bound(results: TwoTaskResults) -> Measurement:
    """The 95th percentile of q_i/F_i over the constrained modes."""
    shares = [_percentile(trials, PAPER_METHOD, results.epoch) for trials in results.reported]
    free = [_percentile(trials, "none", results.epoch) for trials in results.reported]
    return Measurement.over_seeds(shares, Control("without constraint", seed_interval(free), "differ"))


def _percentile(trials: TwoTaskTrials, method: str, step: int) -> float:
    (row,) = (row for row, number in enumerate(trials.moved) if trials.method[number] == method)
    constrained = max(int(trials.n_modes[number]) for number in trials.moved)
    ratio = trials.displacement[row, trials.step.tolist().index(step)] / trials.flatness
    return float(torch.nanquantile(ratio[:constrained], 0.95))


def _best_count(results: TwoTaskResults) -> Measurement:
    counts = sorted(results.error_by_count(PAPER_METHOD)[0])
    if sum(count < results.n_modes / 2 for count in counts) < 2:
        return Measurement(math.nan, note=f"only {', '.join(map(str, counts))} modes were tried")
    note = f"tried {', '.join(map(str, counts))} at lambda = {PAPER_STRENGTH:g}; within a tenth of the smallest error"
    return Measurement.over_seeds(fewest_modes(results), note=note)


def _ewc_share(results: TwoTaskResults) -> Measurement:
    """The share of weights at which EWC, tuned alike at each number, does best, in each seed; of equals the fewest."""
    counts, dim = results.counts("ewc"), results.reported[0].dim
    shared = set.intersection(*(set(results.tuning[0].strengths("ewc", count)) for count in counts))
    errors = {count or dim: results.best("ewc", results.epoch, count, shared).summed for count in counts}
    best = [min(errors, key=lambda count: (errors[count][seed], count)) for seed in range(len(results.reported))]
    note = f"of {', '.join(str(count) for count in sorted(errors))} weights"
    return Measurement.over_seeds([count / dim for count in best], note=note)
