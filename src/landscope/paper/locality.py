"""S3 and the noise covariance: flatness against curvature, and gradient noise against curvature, layer by layer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from landscope.controls import Basis, gradient_noise_basis, hessian_basis
from landscope.landscape import Flatness, directional_curvature
from landscope.noise.gradient import gradient_noise
from landscope.paper.claims import Measurement
from landscope.protocols import Ensemble, LossLandscape, ProgressCallback
from landscope.results import Result, stamp
from landscope.scaling import fit_power_law

__all__ = ["LayerNoise", "Locality", "locality_measurements", "measure_layer_noise", "measure_locality"]


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
    bases = (hessian_basis(risk, w0, n_modes, rtol=1e-3), gradient_noise_basis(ensemble, w0, n_modes))
    first, second = (_layer_noise(layer, basis, risk, ensemble, w0) for basis in bases)
    return first, second


def _layer_noise(layer: str, basis: Basis, risk: LossLandscape, ensemble: Ensemble, w0: Tensor) -> LayerNoise:
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


def locality_measurements(
    locality: Locality, layers: Sequence[LayerNoise], recorded: Sequence[str]
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
