"""What every benchmark shares: one row of a result, calls timed in turns, memory at its peak."""

from __future__ import annotations

import dataclasses
import gc
import threading
import time
from collections.abc import Callable, Sequence
from statistics import median

import psutil

__all__ = ["Row", "in_turns", "peak", "ratio", "seconds"]


@dataclasses.dataclass(frozen=True)
class Row:
    """One quantity.

    Args:
        quantity: What was measured.
        unit: Its unit; ``x`` for a ratio, taken repeat by repeat within one run.
        values: One for each repeat.
        note: What the reader must know.
    """

    quantity: str
    unit: str
    values: tuple[float, ...]
    note: str = ""

    @classmethod
    def of(cls, quantity: str, unit: str, values: float | Sequence[float], note: str = "") -> Row:
        """A row from one value or several."""
        return cls(quantity, unit, (values,) if isinstance(values, int | float) else tuple(values), note)

    def summary(self) -> dict:
        """The row as it is saved: median, smallest and largest, and how many."""
        low, high = min(self.values), max(self.values)
        return {
            "quantity": self.quantity,
            "unit": self.unit,
            "median": median(self.values),
            "low": low,
            "high": high,
            "repeats": len(self.values),
            "note": self.note,
        }


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    gc.collect()
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def in_turns(calls: dict[str, Callable[[], object]], repeats: int, *, warm_up: bool = True) -> dict[str, list[float]]:
    """Seconds of each call, taken in turns so that whatever drifts hits all of them."""
    if warm_up:
        for call in calls.values():
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(seconds(call))
    return times


def ratio(slow: Sequence[float], fast: Sequence[float]) -> list[float]:
    """How many times as long, repeat by repeat."""
    return [a / b for a, b in zip(slow, fast, strict=True)]


def peak(call: Callable[[], object]) -> tuple[float, float, object]:
    """Seconds, GiB above what was in use before, and the answer."""
    gc.collect()
    process = psutil.Process()
    before = highest = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.01):
            highest = max(highest, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    answer = call()
    taken = time.perf_counter() - started
    done.set()
    watcher.join()
    return taken, (highest - before) / 2**30, answer
