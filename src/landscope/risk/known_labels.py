"""What was found out about labels on a GPU, so that it is not asked at every evaluation."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

__all__ = ["copied_batch", "has_negative"]

B = TypeVar("B")

_NEGATIVE = WeakIdKeyDictionary()
"""Version of labels, and whether one of them was negative."""
_COPIED = WeakIdKeyDictionary()
"""Version of a copy of labels when it was made, and the labels, which live longer."""


def has_negative(labels: Tensor) -> bool:
    """Whether a label is below 0; of a GPU it is asked once for each tensor, and again where its values changed.

    Example:
        >>> import torch
        >>> has_negative(torch.tensor([0, 2])), has_negative(torch.tensor([0, -100]))
        (False, True)
    """
    if labels.device.type == "cpu" or labels.is_inference():
        return bool((labels < 0).any())
    copied, original = _COPIED.get(labels, (-1, labels))
    if copied == labels._version:
        return has_negative(original)
    version, found = _NEGATIVE.get(labels, (-1, False))
    if version != labels._version:
        found = bool((labels < 0).any())
        _NEGATIVE[labels] = (labels._version, found)
    return found


def copied_batch(batch: B) -> B:
    """A copy, for a model that may change its input in place; what is known about labels is known about it too."""
    copied = copy.deepcopy(batch)
    for old, new in zip(tree_leaves(batch), tree_leaves(copied), strict=False):
        if isinstance(old, Tensor) and isinstance(new, Tensor) and _may_be_labels(old) and _may_be_labels(new):
            _COPIED[new] = (new._version, old)
    return copied


def _may_be_labels(tensor: Tensor) -> bool:
    return tensor.device.type != "cpu" and not tensor.is_floating_point() and not tensor.is_inference()
