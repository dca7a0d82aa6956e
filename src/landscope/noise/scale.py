"""The simple noise scale alone, until the module of this name with intervals is merged in its place."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import for_float64
from landscope.risk.minibatches import MinibatchRisk

__all__ = ["NoiseScale", "noise_scale"]


class NoiseScale(NamedTuple):
    """tr(Sigma)/abs(G)^2 in samples; infinite where the gradient is zero within its error."""

    value: float


def noise_scale(ensemble: MinibatchRisk, w0: Float[Tensor, " N"]) -> NoiseScale:
    """The gradient noise scale (McCandlish et al., arXiv 1812.06162, Eq. 2.9), without bias of either part.

    Args:
        ensemble: Minibatches of one size.
        w0: Point of the gradients.
    """
    assert ensemble.batches is not None  # noqa: S101
    rows = torch.stack([for_float64(gradient).double().cpu() for gradient in ensemble.batch_gradients(w0)])
    trace = float(rows.var(dim=0, correction=1).sum())
    square = float(rows.mean(dim=0).square().sum()) - trace / len(rows)
    return NoiseScale(ensemble.batches.shape[1] * trace / square if square > 0 else math.inf)
