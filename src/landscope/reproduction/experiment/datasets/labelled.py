"""Inputs with their class labels, as tensors."""

from __future__ import annotations

import dataclasses

from jaxtyping import Int, Shaped
from torch import Tensor

__all__ = ["PADDING", "LabelledData"]

PADDING = "<pad>"


@dataclasses.dataclass(frozen=True)
class LabelledData:
    """Images scaled to [0, 1], or sequences of tokens of one length, with their class labels.

    Args:
        name: Name of the data set.
        train_inputs: Training images ``[M, channels, height, width]``, or sequences ``[M, length]`` of indices into
            ``vocabulary``, where 0 fills the end of short ones.
        train_labels: Labels of the training inputs ``[M]``, from 0.
        test_inputs: Test inputs.
        test_labels: Labels of the test inputs.
        n_classes: Number of classes.
        vocabulary: The token of each index; the first is ``"<pad>"``, and in text the second is ``"<unk>"``. Empty for
            images.
    """

    name: str
    train_inputs: Shaped[Tensor, "M ..."]
    train_labels: Int[Tensor, " M"]
    test_inputs: Shaped[Tensor, "m ..."]
    test_labels: Int[Tensor, " m"]
    n_classes: int
    vocabulary: tuple[str, ...] = ()
