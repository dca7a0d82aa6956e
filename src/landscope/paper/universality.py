"""Whether the inverse relation holds for every network, optimiser, loss and data set (paper, Figs. S3 and S10)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from landscope.exponents import Exponents
from landscope.paper.claims import Control, Measurement

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
    """What the cases say on the claim: the smallest exponent of any of them.

    Args:
        cases: All that were run.

    Returns:
        The measurement of the claim ``universal``.
    """
    own, fresh, null = ([_mean(getattr(case, part)) for case in cases] for part in ("own", "fresh", "null"))
    measured = [value for value in own if not math.isnan(value)]
    if not measured:
        return {"universal": Measurement(math.nan, note="no case has an exponent")}
    against = [f"{case.name} ({case.weights})" for case, value in zip(cases, fresh, strict=True) if value <= 0]
    unreached = [case.name for case in cases if max(case.training_error) > 0]
    notes = [f"{len(measured)} cases, largest {max(measured):.2f}"]
    notes += [f"in fresh data it is not inverse for {', '.join(against)}"] if against else []
    notes += [f"the training error was not zero for {', '.join(dict.fromkeys(unreached))}"] if unreached else []
    return {
        "universal": Measurement(
            min(measured),
            controls=(
                Control("the shuffled-increment null", _range(null), "differ", f"is inverse too, {_words(null)}"),
                Control("the same modes in the next window", _range(fresh), "agree"),
            ),
            note="; ".join(notes),
        )
    }


def _mean(rows: Sequence[Exponents]) -> float:
    values = [row.psi for row in rows if not math.isnan(row.psi)]
    return sum(values) / len(values) if values else math.nan


def _range(values: Sequence[float]) -> tuple[float, float]:
    finite = [value for value in values if not math.isnan(value)]
    return (min(finite), max(finite)) if finite else (math.nan, math.nan)


def _words(values: Sequence[float]) -> str:
    low, high = _range(values)
    return f"{low:.2f} to {high:.2f}"
