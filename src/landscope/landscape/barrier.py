"""The barrier of the log-loss between two solutions."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.protocols import LossLandscape

__all__ = ["log_barrier"]


def log_barrier(
    landscape: LossLandscape, first: Float[Tensor, " N"], second: Float[Tensor, " N"], n_points: int = 21
) -> float:
    r"""The rise of the log-loss on the straight line between two solutions, above the higher of the two.

    .. math:: \max_{0 \le s \le 1} \ln L(w_1 + s (w_2 - w_1)) - \max(\ln L(w_1), \ln L(w_2))

    It is near 0 if both solutions are in one valley.

    Args:
        landscape: Any landscape.
        first: First solution.
        second: Second solution.
        n_points: Number of points on the line, including the ends.

    Returns:
        The barrier, at least 0.

    Example:
        >>> from landscope.synthetic import InverseGaussian
        >>> well = InverseGaussian(torch.tensor([2.0]))
        >>> log_barrier(well, torch.tensor([-1.0]), torch.tensor([2.0]))
        0.0
    """
    fraction = torch.linspace(0, 1, n_points, dtype=first.dtype, device=first.device)[:, None]
    logs = torch.log(landscape(first + fraction * (second - first)))
    return max(0.0, float(logs.max() - torch.maximum(logs[0], logs[-1])))
