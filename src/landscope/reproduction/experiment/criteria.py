"""Losses of a training, by their name in the settings."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from landscope.reproduction.experiment.choices import Loss

__all__ = ["CRITERIA", "squared_distance"]


def squared_distance(outputs: Float[Tensor, "b classes"], labels: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    r"""Squared distance of the outputs from the unit vector of the right class, :math:`\sum_j (y_j - \delta_{jz})^2`.

    The sum over classes, not their mean: at the paper's learning rate its steps are then of the size that
    cross-entropy makes.

    Args:
        outputs: Outputs of the network, one for each class.
        labels: Right classes of the samples.

    Returns:
        The loss of each sample.

    Example:
        >>> import torch
        >>> squared_distance(torch.tensor([[0.5, 0.5]]), torch.tensor([0])).tolist()
        [0.5]
    """
    right = F.one_hot(labels, outputs.shape[1]).to(outputs)
    return (outputs - right).square().sum(dim=1)


CRITERIA: dict[Loss, Callable[[Tensor, Tensor], Tensor]] = {"cross-entropy": F.cross_entropy, "mse": squared_distance}
"""Losses by their name in :class:`landscope.reproduction.experiment.settings.Settings`."""
