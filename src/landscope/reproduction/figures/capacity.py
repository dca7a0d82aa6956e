"""How many modes remember a task (Fig. 4F), over widths and numbers of classes: is it a capacity?"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping

from landscope.claims.statements import judged
from landscope.reproduction.figures.fig4_claims import Protocol, capacity_measurements, fewest_modes
from landscope.reproduction.figures.pairs import Pair, pair_jobs, protocol_of
from landscope.reproduction.figures.recipe import Plan, Section, mean_with_spread
from landscope.reproduction.jobs import Job

__all__ = ["Capacity"]

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


def _pair(width: int, classes: int) -> Pair:
    groups = (tuple(range(classes)), tuple(range(5, 5 + classes)))
    return Pair(
        f"width{width}-classes{classes}", f"{width}, {classes}", groups, "all", 3, (), _COUNTS,
        floored=False, epochs=1, changes={"hidden": (width, width)},
    )  # fmt: skip


PAIRS: Mapping[tuple[int, int], Pair] = {
    (width, classes): _pair(width, classes) for width, classes in ((20, 2), (50, 2), (100, 2), (50, 3), (50, 5))
}
"""Width and classes a task."""


class Capacity:
    """Widths and classes over seeds."""

    key = "capacity"
    title = "How many modes remember a task"

    def jobs(self, plan: Plan) -> list[Job]:
        """One job a network, task and seed; nothing is tuned."""
        return [job for pair in PAIRS.values() for job in pair_jobs(plan, pair, tuned=False)]

    def sections(self, plan: Plan) -> list[Section]:
        """The table, and whether N_c* grows with what there is to remember."""
        found = {size: protocol_of(plan, pair, tuned=False) for size, pair in PAIRS.items()}
        rows = [_row(*size, one) for size, one in found.items()]
        values = {pair.key: fewest_modes(found[size]) for size, pair in PAIRS.items()}
        judgements = judged(capacity_measurements(found))
        text = _TEXT.format(seeds=len(next(iter(found.values())).reported))
        return [Section(self.key, self.title, text, _HEADINGS, rows, judgements, values, None)]


def _row(width: int, classes: int, one: Protocol) -> list[str]:
    best, counts, moving = (
        one.error_by_count("ldc-no-floor"),
        fewest_modes(one),
        [found.n_moving for found in one.reported],
    )
    nothing = one.at("none", float("nan"), one.stops[1], 0).summed
    return [
        f"{width}", f"{classes}", f"{one.reported[0].dim}",
        f"{statistics.median(moving):.0f}", mean_with_spread(counts),
        _of_seeds(count >= most for count, most in zip(counts, moving, strict=True)),
        _of_seeds(found.learnt for found in one.reported),
        mean_with_spread([min(errors.values()) * 100 for errors in best]),
        mean_with_spread([100 * error for error in nothing]),
    ]  # fmt: skip


def _of_seeds(answers: Iterable[bool]) -> str:
    told = list(answers)
    return f"{sum(told)} of {len(told)}"
