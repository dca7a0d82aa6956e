"""The flatness of a solution along the leading eigenvectors of its Hessian."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.directions.hessian_eigenvectors import hessian_eigenvectors
from landscope.landscape import flatness
from landscope.protocols import LossLandscape
from landscope.results import Result, stamp

__all__ = ["Valley", "measure_valley"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Valley(Result, kind="valley", dims=dict.fromkeys(("width", "curvature"), ("direction",))):
    """The valley around a solution, along the leading eigenvectors of its Hessian.

    Args:
        width: F along each eigenvector; NaN if the loss does not reach the threshold.
        curvature: Eigenvalues.
        norm: Norm of the weights.
        loss: Loss of the solution.
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


def measure_valley(landscape: LossLandscape, w: Float[Tensor, " N"], n_directions: int = 20, seed: int = 0) -> Valley:
    """The flatness of a solution in its sharpest directions.

    Args:
        landscape: The risk.
        w: The solution.
        n_directions: Number of eigenvectors.
        seed: Random seed of the iterations that find the eigenvectors.

    Example:
        >>> from landscope.synthetic import InverseGaussian
        >>> well = InverseGaussian(torch.tensor([8.0, 2.0, 0.5]).double())
        >>> measure_valley(well, torch.tensor([0.0, 0.0, 1.0]).double(), 2).width.round(decimals=2).tolist()
        [1.0, 2.0]
    """
    basis = hessian_eigenvectors(landscape, w, n_directions, rtol=1e-2, seed=seed)
    found = flatness(landscape, w, basis.directions.to(w))
    return Valley(
        width=found.width,
        curvature=basis.values,
        norm=float(torch.linalg.vector_norm(w.double())),
        loss=found.loss0,
        provenance=stamp(n_directions=n_directions, seed=seed),
    )
