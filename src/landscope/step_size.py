"""The step size of an optimiser for a constant gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from landscope.errors import InputError

__all__ = ["gradient_scale", "is_known", "step_size"]

_SQUARES = ("max_exp_avg_sq", "exp_avg_sq", "square_avg")
"""Names under which Adam and similar optimisers store the mean square of each gradient."""
_UNSUPPORTED = (torch.optim.Adadelta, torch.optim.RAdam)
"""Optimisers that store the mean square too, but use it differently."""


def step_size(optimizer: torch.optim.Optimizer, groups: Sequence[dict[str, Any]], tensors: Sequence[Tensor]) -> float:
    r"""The step length per unit of a constant gradient.

    The step length of SGD with momentum is :math:`\mathrm{lr} (1 - \mathrm{dampening}) / (1 - \mathrm{momentum})`.
    Adam, AdamW and RMSprop divide each gradient by the root of its mean square v, which gives
    :math:`\mathrm{lr} / (\langle \sqrt{v} \rangle + \epsilon)`. The mean is over weights, so that weights without
    gradients do not make it infinite. Momentum lengthens the steps of RMSprop by the factor
    :math:`1 / (1 - \mathrm{momentum})`. For all other optimisers the result is lr, see :func:`is_known`.

    Args:
        optimizer: Any optimiser of ``torch.optim``.
        groups: The parameter groups that contain the weights.
        tensors: The weights.

    Returns:
        The step length; lr for Adam before its first step.

    Raises:
        InputError: If the groups have several learning rates or none, or a momentum is 1 or more.

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
        >>> round(step_size(optimizer, optimizer.param_groups, [weight]), 6)
        1.0
    """
    if any(group.get("lr") is None for group in groups):
        raise InputError(
            expected="a learning rate", got="an optimiser that chooses its own",
            hint="Pass lr= to it: a penalty needs the length of its steps.",
        )  # fmt: skip
    rates = {float(group["lr"]) * _momentum_factor(optimizer, group) for group in groups}
    if len(rates) > 1:
        raise InputError(
            expected="one learning rate for the selected weights",
            got=", ".join(f"{rate:g}" for rate in sorted(rates)),
            hint="Use one learning rate, or a separate penalty or memory for each group, with select=.",
        )
    (rate,) = rates
    divisor = _divisor(optimizer, groups[0], tensors)
    return rate if divisor is None else rate / divisor


def is_known(optimizer: torch.optim.Optimizer, tensors: Sequence[Tensor]) -> bool:
    """Whether :func:`step_size` knows the step rule of the optimiser; if not, it returns lr as a guess."""
    return isinstance(optimizer, torch.optim.SGD) or _squares(optimizer, tensors) is not None


def _momentum_factor(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> float:
    """The factor by which momentum lengthens the steps of a constant gradient."""
    if not isinstance(optimizer, torch.optim.SGD | torch.optim.RMSprop) or not group["momentum"]:
        return 1.0
    if group["momentum"] >= 1:
        raise InputError(
            expected="a momentum below 1",
            got=f"{group['momentum']}",
            hint="Use a smaller momentum: with this one the steps grow without limit.",
        )
    return (1 - group.get("dampening", 0.0)) / (1 - group["momentum"])


def _divisor(optimizer: torch.optim.Optimizer, group: dict[str, Any], tensors: Sequence[Tensor]) -> float | None:
    """The mean divisor of an adaptive optimiser, the root of its mean squares; None for other optimisers."""
    pairs = _squares(optimizer, tensors)
    if pairs is None:
        return None
    total, count = 0.0, 0
    for state, squares in pairs:
        unbiased = 1 - group["betas"][1] ** float(state["step"]) if "betas" in group else 1.0
        total += float(squares.sqrt().sum()) / unbiased**0.5
        count += squares.numel()
    return total / count + group.get("eps", 0.0)


def _squares(
    optimizer: torch.optim.Optimizer, tensors: Sequence[Tensor]
) -> list[tuple[Mapping[str, Any], Tensor]] | None:
    """The state and the mean squares of each weight with a state; None if the steps do not use their root."""
    if isinstance(optimizer, _UNSUPPORTED) or any(group.get("centered") for group in optimizer.param_groups):
        return None
    states = [state for tensor in tensors if (state := optimizer.state.get(tensor))]
    squares_by_state = [
        next((state[name] for name in _SQUARES if isinstance(state.get(name), Tensor)), None) for state in states
    ]
    pairs = [(state, squares) for state, squares in zip(states, squares_by_state, strict=True) if squares is not None]
    return pairs if pairs and len(pairs) == len(states) else None


def gradient_scale(optimizer: torch.optim.Optimizer) -> Tensor | float:
    """The factor by which a gradient scaler multiplied the gradients; a fused optimiser divides by it in its step."""
    scale = getattr(optimizer, "grad_scale", None)
    return 1.0 if scale is None else scale
