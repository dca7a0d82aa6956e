"""How far a step of an optimiser goes along a lasting gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from landscope.errors import InputError

__all__ = ["gradient_scale", "is_known", "step_size", "was_skipped"]

_SQUARES = ("max_exp_avg_sq", "exp_avg_sq", "square_avg")
"""Where Adam and its kin keep the mean square of each gradient."""
_OTHERS = (torch.optim.Adadelta, torch.optim.RAdam)
"""They keep it too, and go another way."""


def step_size(optimizer: torch.optim.Optimizer, groups: Sequence[dict[str, Any]], tensors: Sequence[Tensor]) -> float:
    r"""The length of a step per unit of a lasting gradient.

    SGD with momentum goes :math:`\mathrm{lr} (1 - \mathrm{dampening}) / (1 - \mathrm{momentum})`. Adam, AdamW and
    RMSprop divide each gradient by the root of its mean square v: :math:`\mathrm{lr} / (\langle \sqrt{v} \rangle +
    \epsilon)`, with the mean over weights, which weights without gradients do not make infinite; RMSprop with momentum
    goes :math:`1 / (1 - \mathrm{momentum})` times as far. All others: lr, see :func:`is_known`.

    Args:
        optimizer: Any of ``torch.optim``.
        groups: Those of its groups that hold the weights.
        tensors: The weights.

    Returns:
        The length; of Adam before its first step, lr.

    Raises:
        InputError: If the groups have several, or none, or a momentum is 1 or more.

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
        >>> round(step_size(optimizer, optimizer.param_groups, [weight]), 6)
        1.0
    """
    if any(group.get("lr") is None for group in groups):
        raise InputError(
            expected="a learning rate", got="an optimiser that chooses its own",
            hint="Pass lr= to it: a penalty follows the length of its steps.",
        )  # fmt: skip
    rates = {float(group["lr"]) * _carried(optimizer, group) for group in groups}
    if len(rates) > 1:
        raise InputError(
            expected="one learning rate for the selected weights",
            got=", ".join(f"{rate:g}" for rate in sorted(rates)),
            hint="Give them one; or hold each group by a penalty or memory of its own, with select=.",
        )
    (rate,) = rates
    divisor = _divisor(optimizer, groups[0], tensors)
    return rate if divisor is None else rate / divisor


def is_known(optimizer: torch.optim.Optimizer, tensors: Sequence[Tensor]) -> bool:
    """Whether :func:`step_size` is the length of its steps, after the first of them, and not lr for want of better."""
    return isinstance(optimizer, torch.optim.SGD) or _squares(optimizer, tensors) is not None


def _carried(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> float:
    """How much farther momentum carries a lasting gradient than one step."""
    if not isinstance(optimizer, torch.optim.SGD | torch.optim.RMSprop) or not group["momentum"]:
        return 1.0
    if group["momentum"] >= 1:
        raise InputError(
            expected="a momentum below 1", got=f"{group['momentum']}", hint="Steps would grow without an end."
        )
    return (1 - group.get("dampening", 0.0)) / (1 - group["momentum"])


def was_skipped(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the step under way moves nothing, as a gradient scaler tells fused optimisers after an overflow."""
    overflowed = getattr(optimizer, "found_inf", None)
    return overflowed is not None and bool(overflowed)


def _divisor(optimizer: torch.optim.Optimizer, group: dict[str, Any], tensors: Sequence[Tensor]) -> float | None:
    """The mean root of the mean squares that an adaptive optimiser divides by; None for others."""
    found = _squares(optimizer, tensors)
    if found is None:
        return None
    total, count = 0.0, 0
    for state, squares in found:
        unbiased = 1 - group["betas"][1] ** float(state["step"]) if "betas" in group else 1.0
        total += float(squares.sqrt().sum()) / unbiased**0.5
        count += squares.numel()
    return total / count + group.get("eps", 0.0)


def _squares(
    optimizer: torch.optim.Optimizer, tensors: Sequence[Tensor]
) -> list[tuple[Mapping[str, Any], Tensor]] | None:
    """The state of each weight that has one, with its mean squares; None where steps are not by their root."""
    if isinstance(optimizer, _OTHERS) or any(group.get("centered") for group in optimizer.param_groups):
        return None
    states = [state for tensor in tensors if (state := optimizer.state.get(tensor))]
    found = [next((state[name] for name in _SQUARES if isinstance(state.get(name), Tensor)), None) for state in states]
    pairs = [(state, squares) for state, squares in zip(states, found, strict=True) if squares is not None]
    return pairs if pairs and len(pairs) == len(states) else None


def gradient_scale(optimizer: torch.optim.Optimizer) -> Tensor | float:
    """What gradients were multiplied by, where a fused optimiser divides by it within the step under way."""
    scale = getattr(optimizer, "grad_scale", None)
    return 1.0 if scale is None else scale
