"""How many of many verdicts chance may have made."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

from scipy import special, stats

from landscope.claims.verdict import Judgement

__all__ = ["FalseVerdicts", "false_verdicts"]

_LEVEL = 0.95
_RATE = 0.05
_DECIDED = ("reproduced", "not reproduced")


@dataclasses.dataclass(frozen=True)
class FalseVerdicts:
    """What chance makes of the verdicts *reproduced* and *not reproduced*. As text it is one sentence.

    Args:
        n_tested: Claims with a measured value and an interval.
        n_decided: Verdicts *reproduced* or *not reproduced* among them.
        n_without_interval: Such verdicts on a number without an interval: counts, and numbers whose error is not known
            to 95 %.
        expected: The most false ones that are expected among the tested claims.
        n_kept: How many of the decided remain with the false discovery rate held at 5 %.
    """

    n_tested: int
    n_decided: int
    n_without_interval: int
    expected: float
    n_kept: int

    def __str__(self) -> str:
        count, known = self.n_decided + self.n_without_interval, self.n_decided
        first = f"Chance: {count} verdicts of reproduced or not reproduced, {known} of them on a 95 % interval."
        if not known:
            return f"{first} So it is not known how many of them chance made; several seeds give intervals."
        rest = f" The other {self.n_without_interval} rest on numbers without an interval, where chance is not known."
        return (
            f"{first} Among the claims with an interval ({self.n_tested}, whatever their verdict) chance makes "
            f"{self.expected:.2g} false verdicts at most on average. With the false discovery rate held at 5 % "
            f"(Benjamini and Hochberg) {self.n_kept} of the {known} remain.{rest if self.n_without_interval else ''}"
        )


def false_verdicts(judgements: Sequence[Judgement]) -> FalseVerdicts:
    r"""Count the verdicts that the level of their intervals lets chance make.

    A claim is decided if its interval lies on one side of each edge of the accepted range. If the truth lies on the
    other side of an edge, that happens with 2.5 % at most: n claims with an interval have at most 0.025 n false
    verdicts on average, whatever their dependence. From the value x, the half width h of the interval that faces an
    edge e, and Student's law with the degrees of freedom :math:`\nu` of the interval,

    .. math:: p_e = P\left(t_\nu > t_{\nu, 0.975}\, |x - e|/h\right)

    is the probability to find x as far on its side of the edge if the truth is on the other. The p-value of a claim is
    the larger of those of both edges for a value inside (two one-sided tests), that of the nearer edge outside. Edges
    that no possible value crosses have none. Three seeds have two degrees of freedom; a normal law, the limit of many,
    would give p-values that are far too small. The procedure of Benjamini and Hochberg is applied to them.

    Args:
        judgements: Judgements on different claims.

    Returns:
        The counts.

    Example:
        >>> from landscope.claims.statements import judged
        >>> from landscope.claims.verdict import Measurement
        >>> found = false_verdicts(judged({"psi": Measurement(1.5, (1.4, 1.6)), "psi_D": Measurement(2.0)}))
        >>> found.n_decided, found.n_without_interval, round(found.expected, 3), found.n_kept
        (1, 1, 0.025, 1)
    """
    decided = [judgement for judgement in judgements if judgement.verdict in _DECIDED]
    tested = [judgement for judgement in judgements if _has_interval(judgement)]
    adjusted = stats.false_discovery_control([_p_value(judgement) for judgement in tested]) if tested else []
    kept = [p <= _RATE and judgement.verdict in _DECIDED for p, judgement in zip(adjusted, tested, strict=True)]
    n_decided = sum(_has_interval(judgement) for judgement in decided)
    return FalseVerdicts(
        n_tested=len(tested),
        n_decided=n_decided,
        n_without_interval=len(decided) - n_decided,
        expected=_RATE / 2 * len(tested),
        n_kept=sum(map(bool, kept)),
    )


def _has_interval(judgement: Judgement) -> bool:
    measurement = judgement.measurement
    low, high = measurement.interval
    # An interval of no width is none: values that are the same by chance say nothing of their error.
    return measurement.has_interval and high > low and not math.isnan(measurement.value)


def _p_value(judgement: Judgement) -> float:
    """The probability of a value as far on its side of the edges if the truth lies on the other side."""
    measurement = judgement.measurement
    value, (low, high), freedom = measurement.value, measurement.interval, measurement.freedom
    (lower, upper), (least, most) = judgement.claim.accepted, judgement.claim.possible
    if value < lower:
        return _beyond(lower - value, high - value, freedom)
    if value > upper:
        return _beyond(value - upper, value - low, freedom)
    inside = [_beyond(value - lower, value - low, freedom) if lower > least else 0.0]
    inside += [_beyond(upper - value, high - value, freedom) if upper < most else 0.0]
    return max(inside)


def _beyond(distance: float, half_width: float, freedom: float) -> float:
    """One-sided probability of an error as large as the distance, by Student's law."""
    if not half_width > 0:
        return 0.0 if distance > 0 else 1.0
    errors = _quantile(freedom) * distance / half_width
    return float(special.ndtr(-errors) if math.isinf(freedom) else special.stdtr(freedom, -errors))


@functools.cache
def _quantile(freedom: float) -> float:
    """Half width of the interval in standard errors."""
    level = 0.5 + _LEVEL / 2
    return float(special.ndtri(level) if math.isinf(freedom) else special.stdtrit(freedom, level))
