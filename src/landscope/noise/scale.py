"""Stub: the simple noise scale, until the module of this name is merged."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from landscope.protocols import Ensemble
from landscope.results import Result, stamp

__all__ = ["NoiseScale", "noise_scale"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class NoiseScale(Result, kind="noise_scale"):
    """Stub."""

    value: float
    standard_error: float


def noise_scale(ensemble: Ensemble, w0: Tensor) -> NoiseScale:
    """Stub."""
    rows = torch.stack([g.double().cpu() for g in ensemble.batch_gradients(w0)])  # ty: ignore[missing-attribute]
    n, size = len(rows), ensemble.batches.shape[1]  # ty: ignore[missing-attribute]
    trace = rows.var(dim=0, correction=1).sum()
    square = rows.mean(dim=0).square().sum() - trace / n
    return NoiseScale(value=float(size * trace / square), standard_error=float("nan"), provenance=stamp())
