"""The nearest point of a line where the log-loss has risen by a given amount: one side, one dimension."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator

__all__ = ["Crossing", "find_crossing"]

_GROWTH = 4.0
_MAX_EVALUATIONS = 200
_TRUSTED = 0.1
"""How near an expected crossing must be to be of use, relative to where it is looked for."""


@dataclasses.dataclass(frozen=True)
class Crossing:
    """Where the rise reaches its target.

    Args:
        displacement: The distance, positive; NaN where not bracketed.
        bracketed: Whether the rise reaches the target within reach.
        evaluations: Points evaluated.
        slope: Of the square root of the rise, there.
    """

    displacement: float
    bracketed: bool
    evaluations: int
    slope: float = math.nan


class _Search:
    """The points known so far, and the bracket they give: the rise is below target at ``low``, not at ``high``."""

    def __init__(self, target: float, evaluations: int = 0) -> None:
        self.root_of_target = math.sqrt(target)
        self.low, self.high = 0.0, math.inf
        self.known: dict[float, float] = {0.0: -self.root_of_target}
        self._widths: list[float] = []
        self.evaluations = evaluations

    def note(self, d: float, rise: float) -> None:
        """Record ln(L/L0) at d as sqrt(rise) - sqrt(target), which is nearly linear in d."""
        root = math.copysign(math.sqrt(abs(rise)), rise)
        self.known[d] = root - self.root_of_target
        points = sorted(self.known)
        self.high = next((d for d in points if self.known[d] >= 0), math.inf)
        self.low = max(d for d in points if d < self.high)
        self._widths.append(self.high - self.low)
        self.evaluations += 1

    def secant(self) -> float:
        """Where the straight line through the ends of the bracket crosses zero; its middle if an end is infinite."""
        at_low, at_high = self.known[self.low], self.known[self.high]
        if not (math.isfinite(at_low) and math.isfinite(at_high)):
            return 0.5 * (self.low + self.high)
        return self.low + (self.high - self.low) * at_low / (at_low - at_high)

    def slope(self) -> float:
        """Of the square root of the rise, across the bracket."""
        return (self.known[self.high] - self.known[self.low]) / (self.high - self.low)

    def shrinks(self) -> bool:
        """Whether three points have at least halved the bracket; a secant with one end stuck does not."""
        return len(self._widths) < 4 or self._widths[-1] <= 0.5 * self._widths[-4]


def find_crossing(
    target: float,
    *,
    start: float,
    limit: float,
    rtol: float,
    expected: Crossing | None = None,
    spare_looks: bool = False,
) -> Generator[float, float, Crossing]:
    """Search outward from 0 for the nearest d > 0 with ``ln(L(d)/L0) = target``.

    A generator: it yields a displacement and is sent ``ln(L/L0)`` there (infinity is fine), so that a driver can
    run many searches side by side. It brackets outward, closes in by the secant on the square root of the rise, and
    then looks inward at thirds of the crossing; a crossing found there replaces the one outside it.

    Args:
        target: Rise of the log-loss to find, above 0.
        start: First displacement tried.
        limit: Largest displacement tried.
        rtol: Relative tolerance of the crossing.
        expected: The crossing of a loss like this one, bracketed, to start from; where it is far off it is forgotten.
        spare_looks: Do not look inward where the crossing is near the expected one.

    Yields:
        The next displacement to evaluate.

    Returns:
        The crossing.
    """
    search = _Search(target)
    proposal: float | None = min(start, limit)
    if expected is not None:
        proposal = min(expected.displacement, limit)
        search.note(proposal, (yield proposal))
        beyond = _beyond(search, proposal, expected.slope, limit, rtol)
        if beyond is None:
            search, beyond = _Search(target, evaluations=1), min(start, limit)
        proposal = beyond
    while proposal is not None and search.evaluations < _MAX_EVALUATIONS:
        search.note(proposal, (yield proposal))
        if math.isinf(search.high):
            proposal = _outward(search, limit, rtol)
        else:
            near = expected is not None and abs(expected.displacement - search.high) <= _TRUSTED * search.high
            proposal = _inward(search, rtol, look=not (near and spare_looks))
    bracketed = proposal is None and math.isfinite(search.high)
    if not bracketed:
        return Crossing(math.nan, False, search.evaluations)
    return Crossing(search.secant(), True, search.evaluations, search.slope())


def _beyond(search: _Search, d: float, slope: float, limit: float, rtol: float) -> float | None:
    """Just beyond where a line of this slope through the point at ``d`` crosses; None if far off or out of reach."""
    step = -search.known[d] / slope if slope > 0 else math.inf
    step += math.copysign(0.25 * rtol * d, step)
    return d + step if abs(step) <= _TRUSTED * d and d + step <= limit else None


def _outward(search: _Search, limit: float, rtol: float) -> float | None:
    """Farther out: as far as the rise seen so far says, but not farther than a fixed growth."""
    low = search.low
    if low >= limit:
        return None
    root = search.known[low] + search.root_of_target
    missing = search.root_of_target / root - 1 if root > 0 else math.inf
    guess = low * (1 + missing + min(0.1 * (1 + missing), max(missing, 0.5 * rtol)))
    gap = low - max(d for d in search.known if d < low)
    return min(limit, low * _GROWTH, max(guess, low + min(0.2 * low, 2 * gap)))


def _inward(search: _Search, rtol: float, *, look: bool) -> float | None:
    """The next point inside the bracket, or None when the crossing is known and nothing lies inward of it."""
    tolerance = rtol * search.high
    if search.high - search.low <= tolerance:
        return _unseen(search) if look else None
    if not search.shrinks():
        return 0.5 * (search.low + search.high)
    proposal = search.secant()
    nearest = min((search.low, search.high), key=lambda d: abs(search.known[d]))
    if abs(proposal - nearest) < 0.25 * tolerance:
        # The secant has converged on an end: step just beyond it, so that the bracket closes from the other side.
        return nearest + (0.5 if nearest == search.low else -0.5) * tolerance
    # A little past where the secant points, seen from the nearer end, so that the bracket closes if it is right.
    return proposal + math.copysign(min(0.1 * tolerance, 0.1 * (search.high - search.low)), proposal - nearest)


def _unseen(search: _Search) -> float | None:
    """A third of the way to the crossing with no point near it yet."""
    part = search.high / 3
    for place in (part, 2 * part):
        if not any(abs(d - place) <= 0.5 * part for d in search.known if d > 0):
            return place
    return None
