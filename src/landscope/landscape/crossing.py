"""The nearest point of a line where the log-loss has risen by a given amount: one side, one dimension."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator

__all__ = ["Crossing", "find_crossing"]

_GROWTH = 4.0
_MAX_EVALUATIONS = 200
_INWARD = (1 / 3, 2 / 3)


@dataclasses.dataclass(frozen=True)
class Crossing:
    """Where the rise reaches its target.

    Args:
        displacement: The distance, positive; NaN where not bracketed.
        bracketed: Whether the rise reaches the target within reach.
        evaluations: Points evaluated.
    """

    displacement: float
    bracketed: bool
    evaluations: int


class _Search:
    """The points known so far, and the bracket they give: the rise is below target at ``low``, not at ``high``."""

    def __init__(self, target: float) -> None:
        self._target = math.sqrt(target)
        self.low, self.high = 0.0, math.inf
        self.known: dict[float, float] = {0.0: -self._target}

    def note(self, d: float, rise: float) -> None:
        """Record ln(L/L0) at d as sqrt(rise) - sqrt(target), which is nearly linear in d."""
        root = math.copysign(math.sqrt(abs(rise)), rise) if math.isfinite(rise) else rise
        self.known[d] = root - self._target
        self._bracket_nearest()

    def _bracket_nearest(self) -> None:
        points = sorted(self.known)
        self.high = next((d for d in points if self.known[d] >= 0), math.inf)
        self.low = max((d for d in points if d < self.high), default=0.0)

    def secant(self) -> float:
        """Where the straight line through the ends of the bracket crosses zero, kept inside it."""
        at_low, at_high = self.known[self.low], self.known[self.high]
        if not (math.isfinite(at_low) and math.isfinite(at_high)):
            return 0.5 * (self.low + self.high)
        return self.low + (self.high - self.low) * at_low / (at_low - at_high)


def find_crossing(target: float, *, start: float, limit: float, rtol: float) -> Generator[float, float, Crossing]:
    """Search outward from 0 for the nearest d > 0 with ``ln(L(d)/L0) = target``.

    A generator: it yields a displacement and is sent ``ln(L/L0)`` there (infinity is fine), so that a driver can
    run many searches side by side. It brackets outward, closes in by the secant on the square root of the rise, and
    then looks inward at thirds of the crossing; a crossing found there replaces the one outside it.

    Args:
        target: Rise of the log-loss to find, above 0.
        start: First displacement tried.
        limit: Largest displacement tried.
        rtol: Relative tolerance of the crossing.

    Yields:
        The next displacement to evaluate.

    Returns:
        The crossing.
    """
    search = _Search(target)
    proposal: float | None = min(start, limit)
    while proposal is not None:
        search.note(proposal, (yield proposal))
        if len(search.known) > _MAX_EVALUATIONS:
            return Crossing(math.nan, False, len(search.known) - 1)
        proposal = _outward(search, limit) if math.isinf(search.high) else _inside(search, rtol)
    if math.isinf(search.high):
        return Crossing(math.nan, False, len(search.known) - 1)
    return Crossing(_best(search), True, len(search.known) - 1)


def _outward(search: _Search, limit: float) -> float | None:
    """Farther out: as far as the rise seen so far says, but not farther than a fixed growth."""
    if search.low >= limit:
        return None
    target, root = search._target, search.known[search.low] + search._target
    guess = 1.1 * search.low * target / root if root > 0 else math.inf
    return min(limit, search.low * _GROWTH, max(guess, 1.2 * search.low))


def _inside(search: _Search, rtol: float) -> float | None:
    """The next point inside the bracket, or None when the crossing is known and nothing lies inward of it."""
    tolerance = 0.5 * rtol * search.high
    if search.high - search.low > 2 * tolerance:
        if math.isfinite(search.known[search.high]):
            proposal = search.secant()
            nearest = min((search.low, search.high), key=lambda d: abs(search.known[d]))
            # Converged by value: the secant's next step is below tolerance. Prove it by a point just beyond.
            if abs(proposal - nearest) < 0.5 * tolerance and nearest > 0:
                proposal = nearest + (tolerance if nearest == search.low else -tolerance)
            inside = min(max(proposal, search.low + 0.25 * tolerance), search.high - 0.25 * tolerance)
        else:
            inside = 0.5 * (search.low + search.high)
        return inside
    return _unseen_inward(search)


def _unseen_inward(search: _Search) -> float | None:
    """A third of the way to the crossing where nothing was evaluated yet."""
    for first, last in ((0.0, 0.5), (0.5, 0.9)):
        if not any(first * search.high < d < last * search.high for d in search.known if d > 0):
            return search.high * _INWARD[0 if first == 0.0 else 1]
    return None


def _best(search: _Search) -> float:
    return search.secant()
