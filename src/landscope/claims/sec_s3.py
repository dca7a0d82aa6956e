"""Section S3: flatness against curvature, and gradient noise against curvature, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from landscope.claims.verdict import Claim, Measurement
from landscope.landscape.flatness_and_curvature import FlatnessAndCurvature
from landscope.noise.noise_and_curvature import NoiseAndCurvature

__all__ = ["CLAIMS", "curvature_measurements"]

CLAIMS = (
    Claim(
        "flatness_and_hessian",
        "S3",
        "Flatness follows the local curvature (median of F over sqrt(8 L0/H)).",
        "related",
        (0.5, 2.0),
        "a factor of two",
        "F sqrt(H/8 L0), mode by mode",
    ),
    Claim(
        "noise_by_curvature",
        "Zhang et al., arXiv 2602.05600",
        "Gradient noise goes with curvature, C ~ H^g (exponent of the recorded layer, Hessian eigenvectors).",
        "1 to 2, by layer",
        (1.0, 2.0),
        "the authors' range",
        "every layer, in two bases",
        paper="Zhang et al., arXiv 2602.05600",
    ),
)


def curvature_measurements(
    flatness: FlatnessAndCurvature, layers: Sequence[NoiseAndCurvature], recorded: Sequence[str]
) -> dict[str, Measurement]:
    """Measure flatness and gradient noise against curvature.

    Args:
        flatness: Flatness against curvature.
        layers: Noise against curvature of every layer, along Hessian eigenvectors first.
        recorded: Names of the recorded parameters; the first layer among them counts.
    """
    own = next((layer for layer in layers if layer.layer in recorded), None)
    others = ", ".join(f"{layer.exponent:.2f} in {layer.layer} ({layer.basis})" for layer in layers if layer is not own)
    return {
        "flatness_and_hessian": Measurement(
            float(flatness.ratio.nanmedian()),
            note=f"{flatness.n_not_convex} of {len(flatness.ranks)} modes have no positive curvature but a flatness",
        ),
        "noise_by_curvature": Measurement(own.exponent if own else math.nan, note=others),
    }
