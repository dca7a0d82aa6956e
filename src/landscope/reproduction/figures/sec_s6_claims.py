"""Whether the inverse relation holds for every network, optimiser, loss and data set (paper, Figs. S3 and S10)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from landscope.claims.verdict import Control, Measurement
from landscope.law.exponents import Exponents
from landscope.law.intervals import prediction_band, seed_interval

__all__ = ["Case", "universality_measurements"]


@dataclasses.dataclass(frozen=True)
class Case:
    """The exponents of one network, optimiser, loss and data set, over seeds.

    Args:
        name: Which.
        data: Trained on which set.
        samples: How many of it.
        weights: Of which layer.
        dim: How many, N.
        training_error: Of each run, at the end of its window.
        own: Each run along its own modes.
        fresh: Each run along the same modes in its next window.
        null: The surrogates of all runs.
    """

    name: str
    data: str
    samples: int
    weights: str
    dim: int
    training_error: Sequence[float]
    own: Sequence[Exponents]
    fresh: Sequence[Exponents]
    null: Sequence[Exponents]


def universality_measurements(cases: Sequence[Case]) -> dict[str, Measurement]:
    """What the cases say on the claim: the smallest exponent of any of them, each beside its own null.

    Args:
        cases: All that were run.

    Returns:
        The measurement of the claim ``universal``.
    """
    measured = [case for case in cases if not math.isnan(_mean(case.own))]
    if not measured:
        return {"universal": Measurement(math.nan, note="no case has an exponent")}
    smallest = min(measured, key=lambda case: _mean(case.own))
    fresh = [_mean(case.fresh) for case in measured if not math.isnan(_mean(case.fresh))]
    note = f"{len(measured)} cases, largest {max(_mean(case.own) for case in measured):.2f}"
    for text, named in (
        ("not measured for", [case for case in cases if case not in measured]),
        ("in fresh data not inverse for", [case for case in measured if _mean(case.fresh) <= 0]),
        ("the training error was not zero for", [case for case in measured if max(case.training_error) > 0]),
    ):
        note += f"; {text} {', '.join(dict.fromkeys(_name(case) for case in named))}" if named else ""
    controls = (
        _null(measured),
        Control("the same modes in fresh data", (min(fresh, default=math.nan), max(fresh, default=math.nan)), "agree"),
    )
    return {"universal": Measurement(_mean(smallest.own), _interval(smallest.own), controls, note)}


def _null(cases: Sequence[Case]) -> Control:
    """Each case beside its own surrogates: a null as inverse as the run leaves nothing for the dynamics."""
    tested = [case for case in cases if any(not math.isnan(row.psi) for row in case.null)]
    as_inverse = [case for case in tested if _mean(case.own) <= _upper(case.null)]
    share = f"{len(as_inverse)} of {len(tested)} cases"
    if as_inverse:
        return Control("the shuffled-increment null", (-math.inf, math.inf), "differ", f"is as inverse in {share}")
    return Control("the shuffled-increment null", (math.nan, math.nan), "differ", f"is as inverse in {share}")


def _upper(null: Sequence[Exponents]) -> float:
    """Where a further surrogate would lie at most; the one there is, where there is one."""
    values = [row.psi for row in null if not math.isnan(row.psi)]
    return prediction_band(values)[1] if len(values) > 1 else values[0]


def _interval(rows: Sequence[Exponents]) -> tuple[float, float]:
    return seed_interval([row.psi for row in rows]) if len(rows) > 1 else rows[0].psi_interval


def _name(case: Case) -> str:
    return f"{case.name} ({case.weights})"


def _mean(rows: Sequence[Exponents]) -> float:
    values = [row.psi for row in rows if not math.isnan(row.psi)]
    return sum(values) / len(values) if values else math.nan
