"""How flat a valley is, and whether two solutions lie in one."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.protocols import LossLandscape

__all__ = ["log_barrier"]


def log_barrier(
    landscape: LossLandscape, first: Float[Tensor, " N"], second: Float[Tensor, " N"], n_points: int = 21
) -> float:
    r"""How much the log-loss rises on the straight way between two solutions, above the higher of the two.

    .. math:: \max_{0 \le s \le 1} \ln L(w_1 + s (w_2 - w_1)) - \max(\ln L(w_1), \ln L(w_2))

    Near 0 where both lie in one valley.

    Args:
        landscape: The risk.
        first: One solution.
        second: The other.
        n_points: Points on the way, ends included.

    Example:
        >>> from landscope.synthetic import InverseGaussian
        >>> well = InverseGaussian(torch.tensor([2.0]))
        >>> log_barrier(well, torch.tensor([-1.0]), torch.tensor([2.0]))
        0.0
    """
    way = torch.linspace(0, 1, n_points, dtype=first.dtype, device=first.device)[:, None]
    logs = torch.log(landscape(first + way * (second - first)))
    return max(0.0, float(logs.max() - torch.maximum(logs[0], logs[-1])))
