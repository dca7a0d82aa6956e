"""A penalty with another factor, whatever the strengths of its parts are."""

from __future__ import annotations

import dataclasses
from typing import Any

from landscope._checks import check_kind, check_strength
from landscope.penalties.blocks import PartPenalty, PenaltySum
from landscope.penalties.state import StoredPenalty

__all__ = ["scaled_penalty"]


def scaled_penalty(penalty: Any, factor: float) -> Any:
    """A penalty times a factor: unlike ``with_strength``, the parts keep their strengths relative to each other.

    Args:
        penalty: A penalty, or a sum of penalties.
        factor: The factor, at least 0.

    Returns:
        The penalty whose value is ``factor`` times as large everywhere.

    Raises:
        InputError: If the factor is negative, or the penalty is of another kind.

    Example:
        >>> import torch
        >>> from landscope.penalties import QuadraticPenalty
        >>> penalty = QuadraticPenalty(anchor=torch.zeros(2), stiffness=torch.ones(2), strength=3.0)
        >>> scaled_penalty(penalty, 2.0)(torch.ones(2)).item()
        12.0
    """
    check_strength("factor", factor)
    if isinstance(penalty, PenaltySum):
        return PenaltySum(tuple(scaled_penalty(part, factor) for part in penalty.parts))
    if isinstance(penalty, PartPenalty):
        return dataclasses.replace(penalty, part=scaled_penalty(penalty.part, factor))
    check_kind("the penalty", penalty, StoredPenalty, hint="Pass a penalty of landscope.penalties.")
    offset = {"offset": penalty.offset * factor} if hasattr(penalty, "offset") else {}
    return dataclasses.replace(penalty, strength=penalty.strength * factor, **offset)
