"""The loss profiles of the figures: a few modes, over a range that contains both crossings (paper, Fig. 2A)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.landscape.flatness import Flatness
from landscope.landscape.profile import LossProfiles, loss_profiles
from landscope.protocols import LossLandscape

__all__ = ["drawn_profiles", "drawn_ranks"]

_DRAWN_MODES = (10, 20, 50, 100)
_POINTS = 41


def drawn_ranks(flatness: Flatness) -> tuple[int, ...]:
    """Ranks of the modes that are drawn: 10, 20, 50 and 100 where they have crossings, otherwise the first that do."""
    ranks = [rank for rank in _DRAWN_MODES if rank <= len(flatness.width) and bool(flatness.bracketed[rank - 1])]
    return tuple(ranks or [int(i) + 1 for i in flatness.bracketed.nonzero().flatten()[:4]] or [1])


def drawn_profiles(
    landscape: LossLandscape, w0: Float[Tensor, " N"], directions: Float[Tensor, "k N"], flatness: Flatness
) -> LossProfiles:
    """Loss profiles of the drawn modes about w0, slightly beyond both crossings."""
    rows = torch.tensor(drawn_ranks(flatness)) - 1
    reach = torch.maximum(-flatness.left[rows], flatness.right[rows])
    reach = torch.where(torch.isnan(reach), flatness.max_displacement[rows] / 10, reach)
    steps = 1.2 * reach[:, None] * torch.linspace(-1, 1, _POINTS, dtype=torch.float64)
    return loss_profiles(landscape, w0, directions[rows], steps)
