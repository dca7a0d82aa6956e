"""The curvatures at which the optimiser of a training is at its edge of stability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from landscope.noise.edge_of_stability import edges
from landscope.optimizer_steps import shared_rate

__all__ = ["edges_of"]

_OTHER_RULES = ("dampening", "nesterov", "maximize")


def edges_of(optimizer: torch.optim.Optimizer, groups: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The bounds of :func:`landscope.noise.edge_of_stability` at the learning rate of now, by the names of a monitor.

    Args:
        optimizer: The optimiser.
        groups: Its parameter groups with the weights that are measured.

    Returns:
        ``edge`` and, with momentum, ``noise_edge``; nothing where no bound is known: another optimiser than SGD with or
        without heavy-ball momentum, options that differ between the groups, or a learning rate of 0.

    Example:
        >>> weights = [torch.nn.Parameter(torch.ones(2))]
        >>> sgd, adam = torch.optim.SGD(weights, lr=0.5, momentum=0.5), torch.optim.Adam(weights)
        >>> edges_of(sgd, sgd.param_groups), edges_of(adam, adam.param_groups)
        ({'edge': 6.0, 'noise_edge': 2.0}, {})
    """
    rate = shared_rate(groups)
    options = {(group.get("momentum") or 0.0, group.get("weight_decay") or 0.0) for group in groups}
    plain = type(optimizer) is torch.optim.SGD and not any(group[name] for group in groups for name in _OTHER_RULES)
    if not (plain and len(options) == 1 and rate > 0):
        return {}
    momentum, decay = (float(option) for option in options.pop())
    bound, noise_bound = edges(float(rate), momentum, decay)
    return {"edge": bound, "noise_edge": noise_bound} if momentum else {"edge": bound}
