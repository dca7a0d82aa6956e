"""Which calls of an optimiser's step hooks end a step of the training, and the learning rate of a step."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch.optim import Optimizer

__all__ = ["ends_step", "inner_optimizers", "is_nested", "shared_rate"]

_STEP = Optimizer.profile_hook_step(print).__code__  # ty: ignore[missing-attribute] - a function
"""The code that torch puts around every ``step()``, and that calls the hooks."""


def ends_step(optimizer: Optimizer) -> bool:
    """Whether a post hook is called at the end of a step that changed the weights: not skipped, and not nested.

    Args:
        optimizer: The optimiser whose hook runs.
    """
    return not _was_skipped(optimizer) and not is_nested(optimizer)


def _was_skipped(optimizer: Optimizer) -> bool:
    """Whether the step changes nothing, as a gradient scaler requests of a fused optimiser on overflow."""
    overflowed = getattr(optimizer, "found_inf", None)
    return overflowed is not None and bool(overflowed)


def is_nested(optimizer: Optimizer) -> bool:
    """Whether the running ``step()`` was called by another ``step()`` of the same optimiser.

    A class whose ``step()`` calls that of its base class runs the hooks of both, the inner ones before the step is
    complete. Torch does so only if the base class was used before, so hooks cannot rely on either number.

    Args:
        optimizer: The optimiser whose hook runs.
    """
    if sum("step" in vars(kind) for kind in type(optimizer).__mro__) <= 2:  # its own, and that of torch's base class
        return False
    running, frame = 0, sys._getframe()  # who called: torch keeps no record
    while frame is not None and running < 2:
        running += frame.f_code is _STEP and frame.f_locals.get("self") is optimizer
        frame = frame.f_back
    return running > 1


def inner_optimizers(optimizer: Optimizer) -> list[Optimizer]:
    """Optimisers that a wrapper such as a sharpness-aware one holds and that train the same parameters."""
    own = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    held = [value for value in vars(optimizer).values() if isinstance(value, torch.optim.Optimizer)]
    return [
        inner for inner in held
        if inner is not optimizer and any(id(p) in own for group in inner.param_groups for p in group["params"])
    ]  # fmt: skip


def shared_rate(groups: Sequence[dict[str, Any]]) -> float:
    """The learning rate of parameter groups; NaN where they have several, or none."""
    rates = [math.nan if group.get("lr") is None else float(group["lr"]) for group in groups]
    return rates[0] if all(rate == rates[0] for rate in rates) else math.nan
