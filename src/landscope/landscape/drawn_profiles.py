"""Fig. 2: the landscape along the modes and the variance-flatness law, in-sample, in fresh data, and under the null."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.landscape.flatness import Flatness
from landscope.landscape.profile import LossProfiles, loss_profiles
from landscope.protocols import LossLandscape
from landscope.trajectory import Trajectory

__all__ = ["drawn_profiles"]

_DRAWN_MODES = (10, 20, 50, 100)


_POINTS = 41


def drawn_profiles(
    landscape: LossLandscape, window: Trajectory, directions: Float[Tensor, "k N"], found: Flatness
) -> tuple[LossProfiles, tuple[int, ...]]:
    """Profiles along a few modes (ranks 10, 20, 50, 100 where they exist), from crossing to crossing and a bit more.

    Returns:
        The profiles and the ranks drawn.
    """
    ranks = [rank for rank in _DRAWN_MODES if rank <= len(found.width) and bool(found.bracketed[rank - 1])]
    ranks = ranks or [int(i) + 1 for i in found.bracketed.nonzero().flatten()[:4]] or [1]
    rows = torch.tensor(ranks) - 1
    reach = torch.maximum(-found.left[rows], found.right[rows])
    reach = torch.where(torch.isnan(reach), found.max_displacement[rows] / 10, reach)
    steps = 1.2 * reach[:, None] * torch.linspace(-1, 1, _POINTS, dtype=torch.float64)
    return loss_profiles(landscape, window.row(-1), directions[rows], steps), tuple(ranks)
