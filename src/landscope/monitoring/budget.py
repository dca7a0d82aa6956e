"""When to measure what: at most a share of the training time, kept by measuring the time itself."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Collection, Mapping

__all__ = ["Budget"]

_RECENT = 8
"""Measurements of a quantity by which the next one is expected to cost."""
_SAVED = 2.0
"""Measurements for which a quantity may save; what it is given beyond them goes to the others."""


class Budget:
    r"""An account for each quantity, into which a share of the training time is paid.

    With the training time T, in which nothing is measured, and the measuring time S, a measurement of a known cost c
    begins only where

    .. math:: S + c \le \beta T

    and where the account of its quantity holds c. So :math:`S \le \beta T` holds whenever a measurement ends that was
    not dearer than expected. The expected cost is the dearest but one of the last eight measurements of the quantity,
    so that one with a pause of the machine does not count, and of a guess: a multiple of the latest cost of another
    quantity. Without a guess, the first two measurements begin where :math:`S \le \beta T`. What a measurement takes
    beyond twice its expected cost is a debt of all accounts, and is paid back before any other begins.

    Args:
        share: The share beta.
        weights: Weights of the quantities, by which they divide the income; in the order in which they are measured.
        multiples: The expected first cost of some quantities, as ``name -> (other quantity, factor)``.
        clock: Seconds.

    Example:
        A measurement of 1 s at a share of a tenth, after 5 s of training, and after 11 s, which bring 1.1 s.

        >>> seconds = 0.0
        >>> budget = Budget(0.1, {"loss": 1.0}, {}, lambda: seconds)
        >>> seconds = 5.0
        >>> budget.next(["loss"]); seconds += 1.0; budget.charge("loss", 1.0)
        'loss'
        >>> seconds += 3.0
        >>> budget.next(["loss"]) is None
        True
        >>> seconds += 3.0
        >>> budget.next(["loss"])
        'loss'
    """

    def __init__(
        self,
        share: float,
        weights: Mapping[str, float],
        multiples: Mapping[str, tuple[str, float]],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.share, self._weights, self._multiples, self.clock = share, dict(weights), dict(multiples), clock
        self._balance = dict.fromkeys(weights, 0.0)
        self._costs: dict[str, collections.deque[float]] = {}
        self._rest = self._paid = self.measuring = 0.0
        self._start, self._not_before = clock(), 0.0

    @property
    def training(self) -> float:
        """Seconds since the begin, without those of measurements."""
        return self.clock() - self._start - self.measuring

    def expected(self, name: str) -> float | None:
        """The expected cost of a measurement in seconds; None where nothing is known."""
        known = list(self._costs.get(name, ()))
        other, factor = self._multiples.get(name, ("", 0.0))
        if other in self._costs:
            known.append(factor * self._costs[other][-1])
            if len(known) == 1:
                return known[0]
        return sorted(known)[-2] if len(known) > 1 else None

    def is_early(self) -> bool:
        """Whether nothing can be afforded yet; this is all that most steps ask."""
        return self.clock() < self._not_before

    def next(self, ready: Collection[str]) -> str | None:
        """The next quantity to measure now; None where there is none.

        Args:
            ready: Quantities that could be measured.
        """
        training = self.training
        self._pay(self.share * (training - self._paid), ready)
        self._paid = training
        left = self.share * training - self.measuring
        waits = {name: self._wait(name, left) for name in self._weights if name in ready}
        for name, wait in waits.items():
            if wait <= 0:
                return name
        if len(waits) == len(self._weights):  # one that is not ready may be so at the next step
            self._not_before = self.clock() + (min(waits.values()) - max(self._rest, 0.0)) / self.share
        return None

    def _wait(self, name: str, left: float) -> float:
        """Income that is missing before a quantity can be measured."""
        cost = self.expected(name)
        return -left if cost is None else max(cost - left, cost - self._balance[name])

    def _pay(self, income: float, ready: Collection[str]) -> None:
        """Divide income, and what was left before, among the quantities that have room for it."""
        self._rest += income
        costs = {name: self.expected(name) for name in self._weights if name in ready}
        full = {name: _SAVED * cost for name, cost in costs.items() if cost is not None}
        takers = [name for name in full if self._balance[name] < full[name]]
        total, available = sum(self._weights[name] for name in takers), max(self._rest, 0.0)
        for name in takers:
            part = min(full[name] - self._balance[name], available * self._weights[name] / total)
            self._balance[name] += part
            self._rest -= part

    def charge(self, name: str, seconds: float) -> None:
        """Note what a measurement took.

        Args:
            name: The quantity.
            seconds: The time that has passed.
        """
        expected = self.expected(name)
        own = 0.0 if expected is None else min(seconds, _SAVED * expected)
        self.measuring += seconds
        self._balance[name] -= own
        self._rest -= seconds - own
        self._costs.setdefault(name, collections.deque(maxlen=_RECENT)).append(seconds)
        self._not_before = 0.0
