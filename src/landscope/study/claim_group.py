"""Claims that the same results of a study decide."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from landscope.claims.verdict import Measurement
from landscope.study.analysis import Analysis
from landscope.study.saved import Saved

__all__ = ["ClaimGroup"]


@dataclasses.dataclass(frozen=True)
class ClaimGroup:
    """Claims that the same results decide.

    Args:
        stage: Stage that makes the results.
        keys: Keys of the claims.
        results: The results.
        measure: Measures the claims.
        uses_rate: Whether the learning rate enters.
    """

    stage: str
    keys: tuple[str, ...]
    results: tuple[Saved[Any], ...]
    measure: Callable[[Analysis], Mapping[str, Measurement]]
    uses_rate: bool = False
