"""The flatness of modes beside their local curvature (paper, SI section S3)."""

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

__all__ = ["FlatnessAndCurvature", "measure_flatness_and_curvature"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FlatnessAndCurvature(Result, kind="flatness_and_curvature", axis="mode"):
    """Flatness beside the local curvature, mode by mode.

    Args:
        ranks: Ranks of the modes.
        width: Flatness F_i.
        curvature: Curvature H_ii = p_i' Hess L(w0) p_i.
        ratio: Ratio F_i sqrt(H_ii/(8 L0 ln r)), with the factor r of the flatness: 1 if ln L is quadratic out to the
            crossing; NaN if H_ii is not positive.
        loss0: Loss L0 at w0.
        n_not_convex: Number of modes with a curvature that is not positive; their flatness is still well defined.
    """

    ranks: Int[Tensor, " k"]
    width: Float[Tensor, " k"]
    curvature: Float[Tensor, " k"]
    ratio: Float[Tensor, " k"]
    loss0: float
    n_not_convex: int


def measure_flatness_and_curvature(
    landscape: LossLandscape,
    w0: Float[Tensor, " N"],
    directions: Float[Tensor, "all N"],
    flatness: Flatness,
    ranks: Int[Tensor, " k"],
    *,
    progress: ProgressCallback | None = None,
) -> FlatnessAndCurvature:
    """Measure H_ii along the modes of some ranks, and compare with their flatness (paper, S3)."""
    rows = ranks - 1
    curvature = directional_curvature(landscape, w0, directions[rows].to(w0), progress=progress)
    width = flatness.width[rows]
    ratio = width * torch.sqrt(
        torch.where(curvature > 0, curvature, math.nan) / (8 * math.log(flatness.ratio) * flatness.loss0)
    )
    return FlatnessAndCurvature(
        ranks=ranks,
        width=width,
        curvature=curvature,
        ratio=ratio,
        loss0=flatness.loss0,
        n_not_convex=int((curvature <= 0).sum()),
        provenance=stamp(),
    )
