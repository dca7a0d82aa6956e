"""Walking lines by plain calls: the slow, obvious way that any landscape allows."""

from __future__ import annotations

import torch
from torch import Tensor

from landscope.protocols import LossLandscape

__all__ = ["PlainLines"]


class PlainLines:
    """Losses along lines, one call of the landscape a batch of points.

    Args:
        landscape: Any landscape.
        w0: Where the lines start, ``[N]``.
        directions: Their directions, ``[k, N]``.
        points_per_call: Points handed to one call; a formula takes many at once, a network one.

    Example:
        >>> import torch
        >>> lines = PlainLines(lambda w: w.square().sum(-1), torch.zeros(2), torch.eye(2))
        >>> lines(torch.tensor([0, 1]), torch.tensor([1.0, 3.0])).tolist()
        [1.0, 9.0]
    """

    group = 64

    def __init__(self, landscape: LossLandscape, w0: Tensor, directions: Tensor, points_per_call: int = 256) -> None:
        self._landscape, self._w0, self._directions = landscape, w0, directions
        self._points_per_call = points_per_call

    @torch.no_grad()
    def __call__(self, index: Tensor, displacement: Tensor) -> Tensor:
        """``index[n], displacement[n] -> L[n]`` in float64."""
        step = displacement.to(self._directions)[:, None]
        losses = [
            self._landscape(self._w0 + part_step * self._directions[part]).double()
            for part, part_step in zip(
                index.to(self._w0.device).split(self._points_per_call),
                step.split(self._points_per_call),
                strict=True,
            )
        ]
        return torch.cat(losses).cpu()
