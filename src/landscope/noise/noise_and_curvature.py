"""S3 and the noise covariance: flatness against curvature, and gradient noise against curvature, layer by layer."""

from __future__ import annotations

import dataclasses
import math

from jaxtyping import Float
from torch import Tensor

from landscope.directions.directions import Directions
from landscope.directions.gradient_noise_eigenvectors import gradient_noise_eigenvectors
from landscope.directions.hessian_eigenvectors import hessian_eigenvectors
from landscope.landscape.curvature import directional_curvature
from landscope.noise.gradient import gradient_noise
from landscope.power_law import fit_power_law
from landscope.protocols import Ensemble, LossLandscape
from landscope.results import Result, stamp

__all__ = ["LayerNoise", "measure_layer_noise"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LayerNoise(
    Result,
    kind="paper_layer_noise",
    dims=dict.fromkeys(("variance", "curvature"), ("mode",)),
):
    """Gradient noise against curvature in one layer.

    Args:
        layer: Name of its parameters.
        basis: Directions used.
        variance: C_ii.
        curvature: H_ii.
        exponent: g of C_ii ~ H_ii^g over positive H_ii.
        n_not_convex: Directions left out for a curvature that is not positive.
    """

    layer: str
    basis: str
    variance: Float[Tensor, " k"]
    curvature: Float[Tensor, " k"]
    exponent: float
    n_not_convex: int


def measure_layer_noise(
    layer: str, risk: LossLandscape, ensemble: Ensemble, w0: Float[Tensor, " N"], n_modes: int
) -> tuple[LayerNoise, LayerNoise]:
    """C_ii against H_ii along Hessian eigenvectors and along gradient-noise eigenvectors of one layer.

    Args:
        layer: Its name.
        risk: Its loss.
        ensemble: Its minibatch losses.
        w0: Its weights.
        n_modes: Directions of each basis.

    Returns:
        The comparison in both bases: each is chosen by one of the two quantities and favours it.
    """
    n_modes = min(n_modes, len(w0) - 1)
    bases = (hessian_eigenvectors(risk, w0, n_modes, rtol=1e-3), gradient_noise_eigenvectors(ensemble, w0, n_modes))
    first, second = (_layer_noise(layer, basis, risk, ensemble, w0) for basis in bases)
    return first, second


def _layer_noise(layer: str, basis: Directions, risk: LossLandscape, ensemble: Ensemble, w0: Tensor) -> LayerNoise:
    directions = basis.directions.to(w0)
    variance = gradient_noise(ensemble, w0, directions).variance
    curvature = directional_curvature(risk, w0, directions)
    kept = (curvature > 0) & (variance > 0)
    exponent = fit_power_law(curvature[kept], variance[kept]).exponent if int(kept.sum()) >= 3 else math.nan
    return LayerNoise(
        layer=layer,
        basis=basis.name,
        variance=variance,
        curvature=curvature,
        exponent=exponent,
        n_not_convex=int((curvature <= 0).sum()),
        provenance=stamp(),
    )
