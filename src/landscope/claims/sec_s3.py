"""S3 and the noise covariance: flatness against curvature, and gradient noise against curvature, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from landscope.claims.verdict import Measurement
from landscope.landscape.flatness_and_curvature import FlatnessAndCurvature
from landscope.noise.noise_and_curvature import NoiseAndCurvature

__all__ = ["locality_measurements"]


def locality_measurements(
    locality: FlatnessAndCurvature, layers: Sequence[NoiseAndCurvature], recorded: Sequence[str]
) -> dict[str, Measurement]:
    """What curvature says on the claims of S3 and of the follow-ups.

    Args:
        locality: Flatness against curvature.
        layers: Noise against curvature, for each layer the Hessian eigenvectors first.
        recorded: Names of the recorded parameters; the first of them that is a layer counts.

    Returns:
        Measurements by claim.
    """
    own = next((layer for layer in layers if layer.layer in recorded), None)
    others = ", ".join(f"{layer.exponent:.2f} in {layer.layer} ({layer.basis})" for layer in layers if layer is not own)
    return {
        "flatness_and_hessian": Measurement(
            float(locality.ratio.nanmedian()),
            note=f"{locality.n_not_convex} of {len(locality.ranks)} modes have no positive curvature but a flatness",
        ),
        "noise_by_curvature": Measurement(own.exponent if own else math.nan, note=others),
    }
