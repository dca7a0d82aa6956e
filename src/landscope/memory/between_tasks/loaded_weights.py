"""Whether a model has the weights with which the state of its memory was saved."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from landscope.errors import LandscopeWarning
from landscope.memory.between_tasks.fingerprint import Fingerprint
from landscope.parameters import ParameterSpace
from landscope.penalties.compression.moved import anchor_of
from landscope.penalties.warnings import warn
from landscope.protocols import Penalty

__all__ = ["warn_of_other_weights"]

_PRECISIONS = (torch.float32, torch.float16, torch.bfloat16)
"""Precisions to which weights may have been rounded between saving and loading."""


def warn_of_other_weights(
    print_: Fingerprint,
    held: Penalty | None,
    stored: ParameterSpace,
    space: ParameterSpace,
    model: nn.Module,
    *,
    pulls: bool,
) -> None:
    """Warn where a model has other weights than when its state was saved, such as one that was not loaded before.

    In the middle of a task, weights are rightly far from the held ones. So they are compared with those at saving, by
    a few values of each parameter that has the same shape. A fine-tuning may move weights by less than a precision
    rounds them, so they must be equal, or equal after rounding.

    Args:
        print_: What the model was when the state was saved.
        held: The penalty of the state, on the weights that the model has now.
        stored: The selected weights of the state.
        space: The selected weights now.
        model: The model; one on the meta device has no weights yet.
        pulls: Whether a training pulls weights to the held ones, as it does at a strength above 0.
    """
    if held is None or not print_.selected or any(tensor.is_meta for tensor in space.tensors(model)):
        return
    w = space.flatten(model).detach()
    sizes = {
        name: math.prod(shape)
        for name, shape in zip(space.names, space.shapes, strict=True)
        if name in print_.selected and (name, shape) in zip(stored.names, stored.shapes, strict=True)
    }
    now, ends = (Fingerprint.some_of(space, vector) for vector in (w, anchor_of(held, w)))
    if _are_equal(now, print_.selected, sizes):
        return
    differ = _apart(now, print_.selected, sizes)
    if _are_equal(now, ends, sizes):
        warn(
            "the model has the weights that the memory holds, and not those when this state was saved in the middle of "
            f"a task: they differ by {differ:.2g} times their length. To go on with that task, load its weights too, "
            "best before the state; to begin the task again, ignore this",
            LandscopeWarning,
        )
        return
    away, then = (_apart(values, ends, sizes) for values in (now, print_.selected))
    pulled = ", or a training will pull untrained weights to the held ones" if pulls else ""
    warn(
        f"the model has other weights than when this state was saved: they differ by {differ:.2g} times their length. "
        f"Their distance from the weights that the memory holds is {away:.2g} times the length of these, and it was "
        f"{then:.2g} times at saving. If the model is a new one, load its weights before the state of its "
        f"memory{pulled}"
    )


def _are_equal(now: Mapping[str, Tensor], then: Mapping[str, Tensor], names: Iterable[str]) -> bool:
    """Whether values are the earlier ones, or these rounded to a precision."""
    pairs = [(now[name].detach().cpu(), then[name].detach().cpu()) for name in names]
    return any(
        all(torch.equal(a, (b if kind is None or not b.is_floating_point() else b.to(kind)).to(a)) for a, b in pairs)
        for kind in (None, *_PRECISIONS)
    )


def _apart(one: Mapping[str, Tensor], other: Mapping[str, Tensor], sizes: Mapping[str, int]) -> float:
    """Estimate of the distance of two vectors over the length of the other, from a few values of each parameter.

    A checkpoint may have been read onto another device than that of the model.
    """
    square = length = 0.0
    for name, size in sizes.items():
        a, b = one[name].cpu().double(), other[name].cpu().double()
        each = size / max(len(a), 1)
        square, length = square + each * float((a - b).square().sum()), length + each * float(b.square().sum())
    return math.sqrt(square / length) if length else math.inf if square else 0.0
