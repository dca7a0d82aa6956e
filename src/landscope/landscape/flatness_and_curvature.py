"""S3 and the noise covariance: flatness against curvature, and gradient noise against curvature, layer by layer."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from landscope.landscape.curvature import directional_curvature
from landscope.landscape.flatness import Flatness
from landscope.protocols import LossLandscape, ProgressCallback
from landscope.results import Result, stamp

__all__ = ["Locality", "measure_locality"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Locality(Result, kind="paper_locality", dims=dict.fromkeys(("ranks", "width", "curvature", "ratio"), ("mode",))):
    """Flatness beside the local curvature, mode by mode.

    Args:
        ranks: Of the modes.
        width: F_i.
        curvature: H_ii = p_i' Hess L(w0) p_i.
        ratio: F_i sqrt(H_ii/(8 L0)): 1 where ln L is quadratic out to the crossing; NaN where H_ii is not positive.
        loss0: L0.
        n_not_convex: Modes whose curvature is not positive, though their flatness is well defined.
    """

    ranks: Int[Tensor, " k"]
    width: Float[Tensor, " k"]
    curvature: Float[Tensor, " k"]
    ratio: Float[Tensor, " k"]
    loss0: float
    n_not_convex: int


def measure_locality(
    landscape: LossLandscape,
    w0: Float[Tensor, " N"],
    directions: Float[Tensor, "all N"],
    flatness: Flatness,
    ranks: Int[Tensor, " k"],
    *,
    progress: ProgressCallback | None = None,
) -> Locality:
    r"""Measure H_ii along modes and compare with their flatness (paper, S3).

    Args:
        landscape: The risk.
        w0: The end of the window.
        directions: All modes.
        flatness: Of the modes, from the first on.
        ranks: Which modes.
        progress: Told how many are done.

    Returns:
        The comparison.
    """
    rows = ranks - 1
    curvature = directional_curvature(landscape, w0, directions[rows].to(w0), progress=progress)
    width = flatness.width[rows]
    ratio = width * torch.sqrt(torch.where(curvature > 0, curvature, math.nan) / (8 * flatness.loss0))
    return Locality(
        ranks=ranks,
        width=width,
        curvature=curvature,
        ratio=ratio,
        loss0=flatness.loss0,
        n_not_convex=int((curvature <= 0).sum()),
        provenance=stamp(),
    )
