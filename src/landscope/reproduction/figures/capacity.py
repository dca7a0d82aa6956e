"""Fig. 4F: how many modes remember a task, over widths and numbers of classes; is it a capacity?"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

from landscope.claims.statements import judged
from landscope.claims.verdict import Claim, Control, Measurement
from landscope.law.intervals import mean_with_spread, seed_interval
from landscope.reproduction.figures.figure import Plan, Section, table
from landscope.reproduction.figures.two_task_experiment import (
    PAPER_METHOD,
    TwoTaskExperiment,
    TwoTaskResults,
    fewest_modes,
)
from landscope.reproduction.jobs import Job
from landscope.reproduction.sequential.tuning import Seeds

__all__ = ["CLAIMS", "jobs", "key", "measurements", "sections", "title"]

CLAIMS = (
    Claim(
        "memory_in_modes",
        "Fig. 4F, text",
        "The number of modes that remember a task, N_c*, says how much a network holds (N_c* for five classes a task"
        " over that for two).",
        "an estimate of the capacity",
        (1.25, math.inf),
        "more to remember must take clearly more modes",
        "three seeds, seed by seed, one width; N_c* within a tenth of the smallest error; also as a share of all modes",
        possible=(0.0, math.inf),
    ),
)
_COUNTS = (2, 5, 10, 20, 35, 50, 70, 100, 140, 200, 300, 400, 600, 800, 1200, 2000, 2500)
"""Up to all the modes that moved, with the paper's width and five classes."""
_Size = tuple[int, int]
"""Hidden width, and classes a task."""
_COLUMNS: Mapping[str, Callable[[tuple[_Size, TwoTaskResults]], str]] = {
    "hidden width": lambda row: f"{row[0][0]}",
    "classes a task": lambda row: f"{row[0][1]}",
    "N": lambda row: f"{row[1].reported[0].dim}",
    "modes that moved": lambda row: f"{statistics.median(trials.n_moving for trials in row[1].reported):.0f}",
    "N_c*": lambda row: mean_with_spread(fewest_modes(row[1])),
    "all that moved": lambda row: _of_seeds([share >= 1 for share in _shares_of_moving(row[1])]),
    "first task learnt": lambda row: _of_seeds([trials.learnt for trials in row[1].reported]),
    "smallest error (%)": lambda row: mean_with_spread(
        [100 * min(errors.values()) for errors in row[1].error_by_count(PAPER_METHOD)]
    ),
    "error of none (%)": lambda row: mean_with_spread(row[1].at("none", math.nan, row[1].epoch, 0).summed),
}
_TEXT = (
    "N_c*: fewest modes whose summed test error is within a tenth of the smallest over all numbers tried, at lambda = "
    "10 without a floor after an epoch of the second task (241 minibatches where one is shorter); layers trained "
    "before on all digits; mean and standard deviation over {seeds} seeds. All that moved: in how many seeds N_c* is "
    "the number of modes that moved by more than rounding, and might be larger if more did. First task learnt: in how "
    "many its training error was zero when the window began."
)


def _experiment(width: int, classes: int) -> TwoTaskExperiment:
    groups = (tuple(range(classes)), tuple(range(5, 5 + classes)))
    return TwoTaskExperiment(
        f"width{width}-classes{classes}", f"{width}, {classes}", groups, "all", Seeds(3, 0), (), _COUNTS, floored=False,
        epochs=1, changes={"hidden": (width, width)},
    )  # fmt: skip


_EXPERIMENTS = {size: _experiment(*size) for size in ((20, 2), (50, 2), (100, 2), (50, 3), (50, 5))}


key = "capacity"
title = "How many modes remember a task"


def jobs(plan: Plan) -> list[Job]:
    """One job an experiment and seed."""
    return [job for experiment in _EXPERIMENTS.values() for job in experiment.jobs(plan)]


def sections(plan: Plan) -> list[Section]:
    """The table, and whether N_c* grows with what there is to remember."""
    results = {size: experiment.results(plan) for size, experiment in _EXPERIMENTS.items()}
    values = {_EXPERIMENTS[size].key: fewest_modes(each) for size, each in results.items()}
    judgements = judged(measurements(results), CLAIMS)
    text = _TEXT.format(seeds=len(next(iter(results.values())).reported))
    return [Section(key, title, text, *table(_COLUMNS, results.items()), judgements, values)]


def _of_seeds(flags: Sequence[bool]) -> str:
    return f"{sum(flags)} of {len(flags)}"


def measurements(results: Mapping[_Size, TwoTaskResults]) -> dict[str, Measurement]:
    """Whether more modes remember more: N_c* for the most classes a task over that for the fewest, at one width.

    The control is the same ratio of N_c* over the number of modes that moved: N_c* may grow only because more move.

    Args:
        results: Results by hidden width and classes a task, the paper's width and two classes among them.
    """
    width = statistics.mode(width for width, _ in results)
    classes = sorted(count for w, count in results if w == width)
    few, many = results[width, classes[0]], results[width, classes[-1]]
    ratio, interval = _mean_ratio(fewest_modes(many), fewest_modes(few))
    _, shares = _mean_ratio(_shares_of_moving(many), _shares_of_moving(few))
    control = Control("N_c* over the number of modes that moved", shares, "agree")
    means = {w: statistics.fmean(fewest_modes(each)) for (w, count), each in results.items() if count == classes[0]}
    widths = ", ".join(f"{w}: {mean:.0f}" for w, mean in means.items())
    note = f"{classes[-1]} against {classes[0]} classes a task; by width, at {classes[0]}, {widths}"
    freedom = len(few.reported) - 1
    return {"memory_in_modes": Measurement(ratio, interval, (control,), note, freedom=freedom)}


def _shares_of_moving(results: TwoTaskResults) -> list[float]:
    """N_c* of every seed over all the modes of its window: a longer window of more data has more of them."""
    return [count / trials.n_moving for count, trials in zip(fewest_modes(results), results.reported, strict=True)]


def _mean_ratio(above: Sequence[float], below: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Geometric mean over seeds, and its interval."""
    logs = [math.log(a / b) for a, b in zip(above, below, strict=True)]
    low, high = seed_interval(logs)
    return math.exp(statistics.fmean(logs)), (math.exp(low), math.exp(high))
