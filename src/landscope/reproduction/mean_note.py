"""One remark for runs that differ in their seed only: their numbers are means over seeds, as the value is."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence

__all__ = ["mean_note"]

_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?(?!\w)")


def mean_note(notes: Sequence[str]) -> str:
    """The remark of all runs; empty where they differ in more than numbers.

    Example:
        >>> mean_note(["a bowl has 0.1, over 9 modes", "a bowl has 0.2, over 9 modes"])
        'a bowl has 0.15, over 9 modes (means over seeds)'
        >>> mean_note(["the loss falls", "the loss rises"])
        ''
    """
    if len(set(notes)) <= 1:
        return notes[0] if notes else ""
    if len({_NUMBER.sub("#", note) for note in notes}) > 1:
        return ""
    columns = zip(*(_NUMBER.findall(note) for note in notes), strict=True)
    found = iter([_mean(column) for column in columns])
    return f"{_NUMBER.sub(lambda _: next(found), notes[0])} (means over seeds)"


def _mean(column: Sequence[str]) -> str:
    if len(set(column)) == 1:
        return column[0]
    return f"{statistics.fmean(float(number.replace(',', '')) for number in column):.3g}"
