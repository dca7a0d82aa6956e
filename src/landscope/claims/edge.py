"""Claims on the edge of stability: where batch sharpness comes to rest, and whether the fluctuation is diffusion."""

from __future__ import annotations

import math

import torch

from landscope.claims.verdict import Claim, Measurement, joined
from landscope.noise.edge_of_stability import EdgeOfStability

__all__ = ["CLAIMS", "edge_measurements"]

_SHARPEST = 10
"""Eigenvectors, from the first, over which the share of oscillation is averaged."""
_REST = (0.8, 1.2)

CLAIMS = (
    Claim(
        "batch_sharpness",
        "Andreyev & Beneventano, arXiv 2412.20553",
        "SGD is at its edge of stability (batch sharpness over 2(1-beta)/alpha, at w0).",
        "1",
        _REST,
        "a fifth either way",
        "batch sharpness over the training, with the statistics of batch normalisation that the training has",
        possible=(0.0, math.inf),
        paper="Andreyev & Beneventano, arXiv 2412.20553",
    ),
    Claim(
        "no_oscillation",
        "text, Eq. 4; Cohen et al., arXiv 2410.24206",
        "The fluctuation is diffusion, not a jump from side to side (share of the variance above a frequency of 1/4,"
        f" mean over the first {_SHARPEST} eigenvectors of the curvature).",
        "continuous motion",
        (0.0, 0.25),
        "half of what white noise has; in a bowl the share reaches it at alpha lambda = 0.59",
        "the share along each direction against that of a bowl of the same curvature",
        possible=(0.0, 1.0),
    ),
)


def edge_measurements(edge: EdgeOfStability) -> dict[str, Measurement]:
    """Measure batch sharpness against its bound, and the share of oscillation along the sharpest directions.

    Args:
        edge: The measurement of one run.
    """
    return {"batch_sharpness": _sharpness(edge), "no_oscillation": _share(edge)}


def _sharpness(edge: EdgeOfStability) -> Measurement:
    if math.isnan(edge.bound):
        return Measurement(
            math.nan, note="the step is not that of SGD with one learning rate, so the bound needs its metric"
        )
    value, error = edge.batch_sharpness / edge.noise_bound, 1.96 * edge.batch_sharpness_error / edge.noise_bound
    full = f"the largest curvature of the whole loss is {edge.sharpness / edge.bound:.2g} of its bound"
    large = edge.batch_sharpness / edge.bound
    momentum = f"with momentum, against 2(1+beta)/alpha it is {large:.2g}" if edge.momentum else ""
    return Measurement(value, (value - error, value + error), note=joined(full, momentum))


def _share(edge: EdgeOfStability) -> Measurement:
    share, error = edge.share[:_SHARPEST], edge.share_error[:_SHARPEST]
    known = torch.isfinite(share)
    if not bool(known.any()):
        return Measurement(math.nan, note="needs a recorded row for every step")
    value = float(share[known].mean())
    # Errors of directions are independent in a bowl; the mean of their variances, over their number.
    reach = 1.96 * float(error[known].square().sum().sqrt()) / int(known.sum())
    predicted = edge.predicted_share[:_SHARPEST][known]
    stable = predicted[torch.isfinite(predicted)]
    bowl = f"a bowl of the same curvature has {float(stable.mean()):.2g}" if len(stable) else ""
    first = f"alpha lambda_1 is {float(edge.pull[0]):.2g} for the recorded weights" if bowl else ""
    return Measurement(value, (value - reach, value + reach), note=joined(bowl, first))
