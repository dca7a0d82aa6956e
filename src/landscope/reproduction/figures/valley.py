"""The valley around a solution, along the leading eigenvectors of its Hessian."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.claims.verdict import Control
from landscope.directions.hessian_eigenvectors import hessian_eigenvectors
from landscope.landscape import flatness
from landscope.law.intervals import seed_interval
from landscope.risk.empirical import EmpiricalRisk
from landscope.wording import band_text

__all__ = ["Valley", "loss_alone", "measure_valley"]


@dataclasses.dataclass(frozen=True)
class Valley:
    """The valley around the weights of a model.

    Args:
        width: F along each eigenvector; NaN if the loss does not reach the threshold.
        curvature: Eigenvalues.
        norm: Norm of the weights.
        loss: Loss at the weights.
    """

    width: Float[Tensor, " k"]
    curvature: Float[Tensor, " k"]
    norm: float
    loss: float

    @property
    def relative_flatness(self) -> float:
        """Median of F over the norm.

        For the weights of one layer it stays the same when that layer is scaled and the next one divided by it; over
        several layers it does not.
        """
        return float(self.width.nanmedian()) / self.norm

    @property
    def relative_sharpness(self) -> float:
        """Largest eigenvalue over the loss, times the squared norm."""
        return float(self.curvature[0]) / self.loss * self.norm**2


def loss_alone(losses: Sequence[tuple[float, float]]) -> Control:
    r"""The difference of ln F that a difference of losses makes at one curvature, as a null of flatter valleys.

    The width at which the loss rises by a factor is :math:`F = \sqrt{8 L/H}` (for e), so that a higher loss is flatter
    by itself: :math:`\Delta\ln F = \tfrac12 \Delta\ln L` at equal H. A smaller difference than that
    is no flatter valley either, so the band is open below.

    Args:
        losses: Loss at the end of each run, and at the end of the run that it is compared with.
    """
    halves = [math.log(ours / other) / 2 if ours > 0 and other > 0 else math.nan for ours, other in losses]
    known = [half for half in halves if not math.isnan(half)]
    band = seed_interval(known) if len(known) > 1 else (known[0], known[0]) if known else (math.nan, math.nan)
    name = "half the difference of ln L, a higher loss at the same curvature,"
    if any(math.isnan(end) for end in band):
        return Control(name, band, "differ")
    return Control(name, (-math.inf, band[1]), "differ", f"gives {band_text(band)}")


def measure_valley(risk: EmpiricalRisk, n_directions: int = 20, *, ratio: float = math.e, seed: int = 0) -> Valley:
    """Measure the valley around the weights of the model.

    Args:
        risk: The risk.
        n_directions: Number of eigenvectors.
        ratio: Factor of the loss at which the flatness is measured.
        seed: Random seed of the iterations that find the eigenvectors.
    """
    basis = hessian_eigenvectors(risk, risk.w0, n_directions, rtol=1e-2, seed=seed)
    found = flatness(risk, risk.w0, basis.directions.to(risk.w0), ratio)
    return Valley(found.width, basis.values, float(torch.linalg.vector_norm(risk.w0.double())), found.loss0)
