"""Losses with their weights: a risk is the sum of all losses over the sum of all weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from landscope._checks import for_float64
from landscope.errors import InputError

__all__ = [
    "WeightedLosses",
    "added",
    "check_real",
    "loss_weights",
    "mean_of",
    "read_losses",
    "read_pair",
    "total_weight",
]


class WeightedLosses(NamedTuple):
    """Losses ``[m]`` and their weight.

    Args:
        losses: Losses; or their sum, ``[1]``.
        weight: A float if each loss has weight one; a vector ``[m]`` with the weight of each loss; or the sum of their
            weights as a scalar tensor.
    """

    losses: Tensor
    weight: Tensor | float


def total_weight(weight: Tensor | float) -> float:
    """The sum of the weights of some losses."""
    return float(weight.sum()) if isinstance(weight, Tensor) else float(weight)


def loss_weights(losses: Tensor, weight: Tensor | float) -> Tensor | None:
    """The weight of each loss in float64, on the host; None if only their sum is known."""
    if isinstance(weight, Tensor):
        return weight.detach().cpu().double() if weight.ndim and len(weight) == len(losses) else None
    return torch.ones(len(losses), dtype=torch.float64) if weight == len(losses) else None


def added(parts: list[WeightedLosses]) -> tuple[Tensor, float]:
    """The losses of several parts and the sum of their weights."""
    return torch.cat([part.losses for part in parts]), sum(total_weight(part.weight) for part in parts)


def read_losses(returned: Any) -> WeightedLosses:
    """What a function of a user returned for a batch: losses, or ``(losses, weights)``, or ``(sum, weight)``.

    Losses with more axes, such as those of tokens, are added over all axes but the first.

    Raises:
        InputError: If it returned something else.
    """
    if isinstance(returned, WeightedLosses):
        return returned
    if isinstance(returned, Tensor):
        check_real(returned)
    if isinstance(returned, Tensor) and returned.ndim == 1:
        return WeightedLosses(returned, float(len(returned)))
    if isinstance(returned, Tensor) and returned.ndim > 1:
        return WeightedLosses(_added_up(returned), torch.full((len(returned),), returned[:1].numel(), dtype=torch.long))
    if isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[0], Tensor):
        return read_pair(*returned)
    raise InputError(
        expected="a function that returns the loss of each sample, or (sum, count) with the sum as a tensor",
        got=_described(returned),
        hint="Return reduction='none' losses, or (losses.sum(), len(losses)), without .item(). Where it is the loss "
        "that the model itself computes, model(**batch).loss, leave out both criterion and losses (ls.Study, ls.keep, "
        "consolidate). For another mean pass count=f, with f(batch) giving the number of its samples or tokens "
        "(loss_options={'count': f}).",
    )


def check_real(losses: Tensor) -> None:
    """Raise if losses are no real floating-point numbers.

    Raises:
        InputError: If they are integers, as counts of errors are, or complex.
    """
    if not losses.is_floating_point():
        raise InputError(
            expected="losses in a floating-point dtype",
            got=str(losses.dtype),
            hint="Return the loss that was trained. A count of errors has no slope. A complex number is neither large "
            "nor small: return its real part.",
        )


def read_pair(losses: Tensor, weight: Any) -> WeightedLosses:
    """Losses and their weight: one weight for each loss, or one for all.

    Raises:
        InputError: If the weights are neither.
    """
    check_real(losses)
    if isinstance(weight, Tensor) and weight.numel() != 1:
        if weight.shape != losses.shape:
            raise InputError(
                expected="(losses, weight) with one weight for each loss, or one number: the sum of the weights",
                got=f"losses of shape {list(losses.shape)} with weights of shape {list(weight.shape)}",
                hint="Multiply the losses by the mask, and return the sum of the mask as weight.",
            )
        return WeightedLosses(_added_up(losses), _added_up(weight))
    if isinstance(weight, Tensor) and weight.ndim == losses.ndim == 1 and len(losses) == 1:
        return WeightedLosses(losses, weight)
    # A number says the sum of the weights alone, even where it is the number of losses.
    number = (
        weight.detach().reshape(()) if isinstance(weight, Tensor) else torch.tensor(float(weight), dtype=torch.float64)
    )
    return WeightedLosses(_added_up(losses), number)


def _added_up(values: Tensor) -> Tensor:
    """Sums over all axes but the first."""
    return values.reshape(1) if values.ndim == 0 else values.reshape(len(values), -1).sum(dim=1)


def mean_of(losses: Tensor, weight: float) -> Tensor:
    """The sum of losses over their weight, in float64."""
    return for_float64(losses).sum(dtype=torch.float64) / weight


def _described(losses: object) -> str:
    """What a function of a user returned, in words."""
    if isinstance(losses, Tensor):
        return f"a scalar {losses.dtype}"
    if isinstance(losses, tuple):
        return f"({', '.join(type(part).__name__ for part in losses)})"
    return type(losses).__name__
