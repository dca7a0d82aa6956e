"""Gradient noise against curvature in each layer."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor

from landscope.directions.directions import Directions
from landscope.directions.gradient_noise_eigenvectors import gradient_noise_eigenvectors
from landscope.directions.hessian_eigenvectors import hessian_eigenvectors
from landscope.landscape.curvature import directional_curvature
from landscope.noise.gradient import gradient_noise
from landscope.power_law import fit_power_law
from landscope.protocols import Ensemble, LossLandscape, ProgressCallback, silent
from landscope.results import Result, stamp

__all__ = ["LAYER_BASES", "LayerBasis", "NoiseAndCurvature", "measure_noise_and_curvature"]

LayerBasis = Literal["hessian", "gradient-noise"]
LAYER_BASES: tuple[LayerBasis, ...] = get_args(LayerBasis)
"""Eigenvectors along which a layer is measured; each basis favours the quantity that defines it."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class NoiseAndCurvature(
    Result,
    kind="noise_and_curvature",
    dims=dict.fromkeys(("variance", "curvature"), ("mode",)),
):
    """Gradient noise against curvature in one layer.

    Args:
        layer: Name of the layer.
        basis: Name of the directions.
        variance: Gradient variance C_ii.
        curvature: Curvature H_ii.
        exponent: Exponent g of C_ii ~ H_ii^g over positive H_ii.
        n_not_convex: Number of directions with a curvature that is not positive; the fit omits them.
    """

    layer: str
    basis: str
    variance: Float[Tensor, " k"]
    curvature: Float[Tensor, " k"]
    exponent: float
    n_not_convex: int


def measure_noise_and_curvature(
    layer: str,
    risk: LossLandscape,
    ensemble: Ensemble,
    w0: Float[Tensor, " N"],
    n_modes: int,
    basis: LayerBasis,
    *,
    progress: ProgressCallback | None = None,
) -> NoiseAndCurvature:
    """Compare C_ii with H_ii along the Hessian eigenvectors or the gradient-noise eigenvectors of one layer.

    Args:
        layer: Name of the layer.
        risk: Loss as a function of the weights of the layer.
        ensemble: Minibatch losses as functions of the same weights.
        w0: Weights of the layer.
        n_modes: Number of directions.
        basis: Which eigenvectors.
        progress: Callback for the number of completed minibatches, then of directions.

    Returns:
        The comparison; each basis favours the quantity that defines it.
    """
    report = progress or silent
    found = _eigenvectors(basis, risk, ensemble, w0, min(n_modes, len(w0) - 1))
    directions = found.directions.to(w0)
    variance = gradient_noise(ensemble, w0, directions, progress=lambda done, total: report(done, 2 * total)).variance
    curvature = directional_curvature(
        risk, w0, directions, progress=lambda done, total: report(total + done, 2 * total)
    )
    kept = (curvature > 0) & (variance > 0)
    exponent = fit_power_law(curvature[kept], variance[kept]).exponent if int(kept.sum()) >= 3 else math.nan
    return NoiseAndCurvature(
        layer=layer,
        basis=found.name,
        variance=variance,
        curvature=curvature,
        exponent=exponent,
        n_not_convex=int((curvature <= 0).sum()),
        provenance=stamp(),
    )


def _eigenvectors(basis: LayerBasis, risk: LossLandscape, ensemble: Ensemble, w0: Tensor, n_modes: int) -> Directions:
    if basis == "hessian":
        return hessian_eigenvectors(risk, w0, n_modes, rtol=1e-3)
    return gradient_noise_eigenvectors(ensemble, w0, n_modes)
