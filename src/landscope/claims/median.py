"""The median of what was measured along directions."""

from __future__ import annotations

import math

from torch import Tensor

__all__ = ["median_of"]


def median_of(values: Tensor) -> float:
    """The median of the values that are known; NaN where there is none."""
    return float(values.nanmedian()) if len(values) else math.nan
