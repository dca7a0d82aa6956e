"""Fig. 4F: how many modes remember a task, over widths and numbers of classes; is it a capacity?"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from landscope.claims.statements import judged
from landscope.claims.verdict import Claim, Control, Measurement
from landscope.law.intervals import mean_with_spread, seed_interval
from landscope.reproduction.figures.figure import Plan, Section
from landscope.reproduction.figures.two_task_experiment import (
    PAPER_METHOD,
    TwoTaskExperiment,
    TwoTaskResults,
    fewest_modes,
)
from landscope.reproduction.jobs import Job
from landscope.reproduction.sequential.tuning import Seeds

__all__ = ["CLAIMS", "Capacity", "measurements"]

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
_HEADINGS = (
    "hidden width", "classes a task", "N", "modes that moved", "N_c*", "all that moved", "first task learnt",
    "smallest error (%)", "error of none (%)",
)  # fmt: skip
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


@dataclasses.dataclass(frozen=True)
class Capacity:
    """The figure: widths and classes over seeds; no strength is tuned.

    Args:
        experiments: Experiments by hidden width and classes a task, the paper's width and two classes among them.
    """

    experiments: Mapping[tuple[int, int], TwoTaskExperiment] = dataclasses.field(default_factory=lambda: _EXPERIMENTS)

    key = "capacity"
    title = "How many modes remember a task"

    def jobs(self, plan: Plan) -> list[Job]:
        """One job an experiment and seed."""
        return [job for experiment in self.experiments.values() for job in experiment.jobs(plan, tuned=False)]

    def sections(self, plan: Plan) -> list[Section]:
        """The table, and whether N_c* grows with what there is to remember."""
        results = {size: experiment.results(plan, tuned=False) for size, experiment in self.experiments.items()}
        rows = [_row(*size, each) for size, each in results.items()]
        values = {self.experiments[size].key: fewest_modes(each) for size, each in results.items()}
        measured = measurements(results)
        judgements = judged(measured, CLAIMS)
        text = _TEXT.format(seeds=len(next(iter(results.values())).reported))
        return [Section(self.key, self.title, text, _HEADINGS, rows, judgements, values)]


def _row(width: int, classes: int, results: TwoTaskResults) -> list[str]:
    counts, moving = fewest_modes(results), [trials.n_moving for trials in results.reported]
    smallest = [100 * min(errors.values()) for errors in results.error_by_count(PAPER_METHOD)]
    return [
        f"{width}", f"{classes}", f"{results.reported[0].dim}",
        f"{statistics.median(moving):.0f}", mean_with_spread(counts),
        _of_seeds(count >= most for count, most in zip(counts, moving, strict=True)),
        _of_seeds(trials.learnt for trials in results.reported),
        mean_with_spread(smallest),
        mean_with_spread(results.at("none", math.nan, results.stops[1], 0).summed),
    ]  # fmt: skip


def _of_seeds(answers: Iterable[bool]) -> str:
    flags = list(answers)
    return f"{sum(flags)} of {len(flags)}"


def measurements(results: Mapping[tuple[int, int], TwoTaskResults]) -> dict[str, Measurement]:
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
    widths = [
        f"{w}: {statistics.fmean(fewest_modes(each)):.0f}"
        for (w, count), each in results.items()
        if count == classes[0]
    ]
    note = f"{classes[-1]} against {classes[0]} classes a task; by width, at {classes[0]}, {', '.join(widths)}"
    return {"memory_in_modes": Measurement(ratio, interval, (control,), note)}


def _shares_of_moving(results: TwoTaskResults) -> list[float]:
    """N_c* of every seed over all the modes of its window: a longer window of more data has more of them."""
    return [count / trials.n_moving for count, trials in zip(fewest_modes(results), results.reported, strict=True)]


def _mean_ratio(above: Sequence[float], below: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Geometric mean over seeds, and its interval."""
    logs = [math.log(a / b) for a, b in zip(above, below, strict=True)]
    low, high = seed_interval(logs)
    return math.exp(statistics.fmean(logs)), (math.exp(low), math.exp(high))
