"""The loss of samples of earlier tasks: cross-entropy to their classes, and to the answers that a network gave."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

__all__ = ["distillation_losses", "precise"]

_CLOSED = -1e9
"""Logit of an output that may not answer: its probability is exactly 0, and no difference of logarithms is NaN."""


def distillation_losses(
    logits: Float[Tensor, "b columns"],
    before: Float[Tensor, "b earlier"],
    answering: Bool[Tensor, " earlier"] | None,
    temperature: float,
) -> Float[Tensor, " b"]:
    r"""How far the answers are from earlier ones (Hinton et al. 2015).

    .. math:: T^2 \sum_c p_c(z_0 / T) \ln \frac{p_c(z_0 / T)}{p_c(z / T)}

    Args:
        logits: Outputs z of the network in training.
        before: Outputs z_0 of the network at the end of the last task; it may have fewer outputs, the first ones.
        answering: Outputs over which the sum goes; all of the earlier ones by default.
        temperature: T.
    """
    now, then = (
        F.log_softmax(_open(z, answering) / temperature, dim=1) for z in (logits[:, : before.shape[1]], before)
    )
    return temperature**2 * (then.exp() * (then - now)).sum(1)


def precise(logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The logits, in float32 where they are of half precision."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _open(logits: Float[Tensor, "b c"], allowed: Bool[Tensor, " c"] | None) -> Float[Tensor, "b c"]:
    return precise(logits) if allowed is None else precise(logits).masked_fill(~allowed, _CLOSED)
