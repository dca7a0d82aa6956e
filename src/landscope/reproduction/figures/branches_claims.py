"""Runs that part from one checkpoint: which valley does each end in?"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from scipy import stats

from landscope.claims.verdict import Measurement
from landscope.law.intervals import seed_interval
from landscope.results import Result

__all__ = ["Branch", "branch_measurements"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Branch(Result, kind="paper_branch"):
    """Where a branch ended.

    Args:
        parent: Seed of the run it parts from.
        step: Where it parts.
        batch_size: B.
        learning_rate: alpha.
        loss: Training loss at the end.
        train_error: Share of wrong answers on the training set.
        test_error: On the test set.
        flatness: Median F of the sharpest directions over the norm of the weights.
        distance: From the end of the branch with the parent's own B and alpha (for that branch itself, from one with
            other minibatches), over its norm.
        barrier: Rise of ln L on the straight way there, above the higher end.
    """

    parent: int
    step: int
    batch_size: int
    learning_rate: float
    loss: float
    train_error: float
    test_error: float
    flatness: float
    distance: float
    barrier: float

    @property
    def noise(self) -> float:
        """Strength of the noise, alpha/B."""
        return self.learning_rate / self.batch_size


def branch_measurements(branches: Sequence[Branch]) -> dict[str, Measurement]:
    """Whether the valley is chosen early, and whether stronger noise chooses a flatter one.

    Args:
        branches: Of all parents.

    Returns:
        Measurements by claim.
    """
    parents = sorted({branch.parent for branch in branches})
    of_parent = [[branch for branch in branches if branch.parent == parent] for parent in parents]
    freezing = [_correlation(group) for group in of_parent]
    gains = [_gain(group) for group in of_parent]
    return {
        "freezing": _over_parents(freezing, _barriers(branches)),
        "noise_chooses_flat": _over_parents(gains),
    }


def _over_parents(values: Sequence[float], note: str = "") -> Measurement:
    finite = [value for value in values if not math.isnan(value)]
    if len(finite) < len(values):
        note += f"{'; ' if note else ''}{len(values) - len(finite)} of {len(values)} parents do not say"
    return Measurement(sum(finite) / len(finite) if finite else math.nan, seed_interval(finite), note=note)


def _barriers(branches: Sequence[Branch]) -> str:
    largest = max(branch.barrier for branch in branches)
    return f"the highest barrier is {largest:.2f}" if largest > 0 else "no barrier anywhere: all end in one valley"


def _correlation(group: Sequence[Branch]) -> float:
    apart = [branch for branch in group if branch.distance > 0]
    if len({branch.step for branch in apart}) < 2 or len({branch.barrier for branch in apart}) < 2:
        return math.nan
    return float(stats.spearmanr([b.step for b in apart], [b.barrier for b in apart]).statistic)


def _gain(group: Sequence[Branch]) -> float:
    first = min(branch.step for branch in group)
    early = sorted((branch for branch in group if branch.step == first), key=lambda branch: branch.noise)
    return math.log(early[-1].flatness / early[0].flatness)
