"""The nearest point on one side of a line at which the log-loss has risen by a given amount."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator

__all__ = ["Crossing", "find_crossing"]

_GROWTH = 4.0
_MAX_EVALUATIONS = 200
_TRUSTED = 0.1
"""Largest relative distance between an expected crossing and the actual one at which the expectation is used."""


@dataclasses.dataclass(frozen=True)
class Crossing:
    """The point at which the rise of the log-loss reaches its target.

    Args:
        displacement: Distance from the centre, positive; NaN if there is no bracket.
        bracketed: Whether the rise reaches the target within the limit.
        evaluations: Number of evaluated points.
        slope: Slope of the square root of the rise at the crossing.
    """

    displacement: float
    bracketed: bool
    evaluations: int
    slope: float = math.nan


class _Search:
    """The evaluated points and their bracket: the rise is below the target at ``low`` and not at ``high``."""

    def __init__(self, target: float, evaluations: int = 0) -> None:
        self.root_of_target = math.sqrt(target)
        self.low, self.high = 0.0, math.inf
        self.values: dict[float, float] = {0.0: -self.root_of_target}
        self._widths: list[float] = []
        self.evaluations = evaluations

    def record(self, d: float, rise: float) -> None:
        """Record ln(L/L0) at d as sqrt(rise) - sqrt(target), which is nearly linear in d."""
        root = math.copysign(math.sqrt(abs(rise)), rise)
        self.values[d] = root - self.root_of_target
        points = sorted(self.values)
        self.high = next((d for d in points if self.values[d] >= 0), math.inf)
        self.low = max(d for d in points if d < self.high)
        self._widths.append(self.high - self.low)
        self.evaluations += 1

    def secant(self) -> float:
        """Zero of the straight line through the ends of the bracket; the middle if a value is infinite."""
        at_low, at_high = self.values[self.low], self.values[self.high]
        if not (math.isfinite(at_low) and math.isfinite(at_high)):
            return 0.5 * (self.low + self.high)
        return self.low + (self.high - self.low) * at_low / (at_low - at_high)

    def slope(self) -> float:
        """Slope of the square root of the rise across the bracket."""
        return (self.values[self.high] - self.values[self.low]) / (self.high - self.low)

    def shrinks(self) -> bool:
        """Whether the last three points have at least halved the bracket; a secant with a fixed end does not."""
        return len(self._widths) < 4 or self._widths[-1] <= 0.5 * self._widths[-4]


def find_crossing(
    *,
    target: float,
    start: float,
    limit: float,
    rtol: float,
    expected: Crossing | None = None,
    skip_inward_checks: bool = False,
) -> Generator[float, float, Crossing]:
    """Search outward from 0 for the nearest d > 0 with ``ln(L(d)/L0) = target``.

    The search is a generator, so that a driver can run many searches at the same time: it yields a displacement and
    receives ``ln(L/L0)`` at this point, which may be infinite. The search first moves outward to a bracket. It then
    applies the secant method to the square root of the rise. Finally it checks one and two thirds of the distance; a
    crossing found there replaces the outer crossing.

    Args:
        target: Required rise of the log-loss, above 0.
        start: First displacement to evaluate.
        limit: Largest displacement to evaluate.
        rtol: Relative tolerance of the crossing.
        expected: Bracketed crossing of a similar loss as a first guess; the search ignores it if it is far off.
        skip_inward_checks: Whether to omit the inward checks if the crossing is near the expected one.
    """
    search = _Search(target)
    proposal: float | None = min(start, limit)
    if expected is not None:
        proposal = min(expected.displacement, limit)
        search.record(proposal, (yield proposal))
        beyond = _beyond(search, proposal, expected.slope, limit, rtol)
        if beyond is None:
            search, beyond = _Search(target, evaluations=1), min(start, limit)
        proposal = beyond
    while proposal is not None and search.evaluations < _MAX_EVALUATIONS:
        search.record(proposal, (yield proposal))
        if math.isinf(search.high):
            proposal = _outward(search, limit, rtol)
        else:
            near = expected is not None and abs(expected.displacement - search.high) <= _TRUSTED * search.high
            proposal = _inward(search, rtol, check=not (near and skip_inward_checks))
    bracketed = proposal is None and math.isfinite(search.high)
    if not bracketed:
        return Crossing(math.nan, False, search.evaluations)
    return Crossing(search.secant(), True, search.evaluations, search.slope())


def _beyond(search: _Search, d: float, slope: float, limit: float, rtol: float) -> float | None:
    """A point just beyond the zero of the line with this slope through ``d``; None if far off or past the limit."""
    step = -search.values[d] / slope if slope > 0 else math.inf
    step += math.copysign(0.25 * rtol * d, step)
    return d + step if abs(step) <= _TRUSTED * d and d + step <= limit else None


def _outward(search: _Search, limit: float, rtol: float) -> float | None:
    """The next point outward, by extrapolation of the rise up to a fixed growth factor."""
    low = search.low
    if low >= limit:
        return None
    root = search.values[low] + search.root_of_target
    missing = search.root_of_target / root - 1 if root > 0 else math.inf
    guess = low * (1 + missing + min(0.1 * (1 + missing), max(missing, 0.5 * rtol)))
    gap = low - max(d for d in search.values if d < low)
    return min(limit, low * _GROWTH, max(guess, low + min(0.2 * low, 2 * gap)))


def _inward(search: _Search, rtol: float, *, check: bool) -> float | None:
    """The next point inside the bracket; None if the crossing is known and all inward checks are done."""
    tolerance = rtol * search.high
    if search.high - search.low <= tolerance:
        return _unchecked_third(search) if check else None
    if not search.shrinks():
        return 0.5 * (search.low + search.high)
    proposal = search.secant()
    nearest = min((search.low, search.high), key=lambda d: abs(search.values[d]))
    if abs(proposal - nearest) < 0.25 * tolerance:
        # The secant has converged to an end. Step just beyond it to close the bracket from the other side.
        return nearest + (0.5 if nearest == search.low else -0.5) * tolerance
    # Step slightly past the secant point, so that the bracket closes if the secant is accurate.
    return proposal + math.copysign(min(0.1 * tolerance, 0.1 * (search.high - search.low)), proposal - nearest)


def _unchecked_third(search: _Search) -> float | None:
    """One or two thirds of the distance to the crossing, if no evaluated point is near."""
    third = search.high / 3
    for point in (third, 2 * third):
        if not any(abs(d - point) <= 0.5 * third for d in search.values if d > 0):
            return point
    return None
