"""Draws of nulls, made by the workers of an analysis side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from landscope.errors import LandscopeError
from landscope.results import Result
from landscope.study.analysis import Analysis
from landscope.study.parts import Part, Stage
from landscope.study.stages import STAGES

__all__ = ["FAILURES", "draws_of_workers", "made_by_workers"]

FAILURES = (LandscopeError, torch.linalg.LinAlgError, np.linalg.LinAlgError)
"""Errors that say that a part cannot be made."""
_Made = tuple[Result | Exception, dict[str, str]]
"""A result or why there is none, and the digest of every result that was read for it."""
_KEY = "draws"


def draws_of_workers(
    analysis: Analysis, stage: Stage, parts: Sequence[Part], is_missing: Callable[[Part], bool]
) -> Iterator[Part]:  # fmt: skip
    """Let workers make all missing draws of a stage side by side; each part when it is made, to be kept at once.

    Bits of principal modes depend on the number of threads, and a worker has one. So this process makes the draws where
    it has more: its threads find the modes, and workers measure the flatness along them.

    Args:
        analysis: The analysis.
        stage: The stage.
        parts: Its parts.
        is_missing: Whether a part is to be made, and can be.
    """
    if analysis.workers is None or torch.get_num_threads() > 1:
        return
    draws = dict[str, list[str]]()
    for part in parts:
        if part.draw and is_missing(part):
            draws.setdefault(part.draw, []).append(part.name)
    made: dict[str, _Made] = analysis.shared.setdefault(_KEY, {})
    calls = [(stage.name, names) for names in draws.values()]
    for done, (_, found) in enumerate(analysis.workers.results(analysis, _draw, calls)):
        made.update(found)
        yield from (part for part in parts if part.name in found)
        analysis.progress(done + 1, len(calls))


def _draw(analysis: Analysis, _: Any, stage: str, names: Sequence[str]) -> dict[str, _Made]:
    """The parts of one draw, in a worker."""
    (own,) = (one for one in STAGES if one.name == stage)
    parts, found = {part.name: part for part in own.parts(analysis)}, dict[str, _Made]()
    for name in names:
        with analysis.folder.watched() as read:
            try:
                found[name] = parts[name].make(analysis), read
            except FAILURES as error:
                found[name] = error, read
    return found


def made_by_workers(analysis: Analysis, part: Part) -> _Made | None:
    """What workers have made of a part; None where they have not."""
    return analysis.shared.get(_KEY, {}).pop(part.name, None)
