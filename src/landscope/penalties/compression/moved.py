"""Where a penalty is smallest, and the same penalty about other weights."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_kind, check_vector
from landscope.penalties.blocks import PartPenalty, PenaltySum
from landscope.penalties.state import StoredPenalty

__all__ = ["anchor_of", "moved_penalty"]


def moved_penalty(penalty: Any, w1: Float[Tensor, " N"]) -> Any:
    """The same penalty about other weights.

    Args:
        penalty: A penalty, or a sum of penalties.
        w1: The new anchor, for all parts.

    Returns:
        The penalty that is least at w1.

    Raises:
        InputError: If the length does not fit.

    Example:
        >>> import torch
        >>> from landscope.penalties import QuadraticPenalty
        >>> penalty = QuadraticPenalty(anchor=torch.zeros(2), stiffness=torch.tensor([1.0, 2.0]))
        >>> moved_penalty(penalty, torch.ones(2))(torch.tensor([1.0, 2.0])).item()
        2.0
    """
    check_vector("w1", w1, dim=penalty.dim)
    if isinstance(penalty, PenaltySum):
        return PenaltySum(tuple(moved_penalty(part, w1) for part in penalty.parts))
    if isinstance(penalty, PartPenalty):
        return dataclasses.replace(penalty, part=moved_penalty(penalty.part, w1[penalty.columns.to(w1.device)]))
    check_kind("the penalty", penalty, StoredPenalty, hint="Pass a penalty of landscope.penalties.")
    return dataclasses.replace(penalty, anchor=w1.detach().to(penalty.anchor).reshape(penalty.anchor.shape).clone())


def anchor_of(penalty: Any, w: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """The weights at which a penalty is smallest; of parts that hold the same weights, those of the last.

    Args:
        penalty: A penalty, or a sum of penalties.
        w: Weights; those that no part holds stay as they are here.

    Raises:
        InputError: If it is no penalty of this library.

    Example:
        >>> import torch
        >>> from landscope.penalties import PartPenalty, distance_penalty
        >>> anchor_of(PartPenalty(distance_penalty(torch.ones(1)), torch.tensor([1]), dim=2), torch.tensor([5.0, 5.0]))
        tensor([5., 1.])
    """
    if isinstance(penalty, PenaltySum):
        return functools.reduce(lambda found, part: anchor_of(part, found), penalty.parts, w)
    if isinstance(penalty, PartPenalty):
        columns, found = penalty.columns.to(w.device), w.clone()
        found[columns] = anchor_of(penalty.part, w[columns])
        return found
    check_kind("the penalty", penalty, StoredPenalty, hint="Pass a penalty of landscope.penalties.")
    return penalty.anchor.flatten().to(w)
