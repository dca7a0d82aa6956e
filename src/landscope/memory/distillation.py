"""The loss of stored samples: cross-entropy to their classes, and to the answers that a network gave before."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

__all__ = ["answering_outputs", "replay_losses"]

_CLOSED = -1e9
"""Logit of an output that may not answer: its probability is exactly 0, and no difference of logarithms is NaN."""


def answering_outputs(
    outputs: Sequence[tuple[int, ...] | None], columns: int, default: Bool[Tensor, " columns"] | None = None
) -> Bool[Tensor, "tasks columns"]:
    """Which outputs may answer for each task: those that were named, otherwise the default, otherwise all.

    Example:
        >>> answering_outputs([(0, 1), None], 3).tolist()
        [[True, True, False], [True, True, True]]
    """
    rows = []
    for named in outputs:
        row = torch.zeros(columns, dtype=torch.bool)
        if named is None:
            row = ~row if default is None else default.clone()
        else:
            row[list(named)] = True
        rows.append(row)
    return torch.stack(rows)


def replay_losses(
    logits: Float[Tensor, "b columns"],
    before: Float[Tensor, "b earlier"],
    labels: Int[Tensor, " b"],
    answering: Bool[Tensor, "b columns"],
    distilled: Bool[Tensor, "b earlier"],
    temperature: float,
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    r"""Cross-entropy and distillation of each sample (Hinton et al. 2015).

    .. math:: -\ln p_y(z), \qquad T^2 \sum_c p_c(z_0 / T) \ln \frac{p_c(z_0 / T)}{p_c(z / T)}

    Args:
        logits: Outputs z of the network in training.
        before: Outputs z_0 of the network at the end of the last task; it may have fewer outputs, the first ones.
        labels: Class y of each sample, as an output.
        answering: Outputs over which the cross-entropy goes.
        distilled: Outputs over which the distillation goes.
        temperature: T.
    """
    cross_entropy = F.cross_entropy(_open(logits, answering), labels, reduction="none")
    now, then = (
        F.log_softmax(_open(z, distilled) / temperature, dim=1) for z in (logits[:, : before.shape[1]], before)
    )
    return cross_entropy, temperature**2 * (then.exp() * (then - now)).sum(1)


def _open(logits: Float[Tensor, "b c"], allowed: Bool[Tensor, "b c"]) -> Float[Tensor, "b c"]:
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return precise.masked_fill(~allowed, _CLOSED)
