"""The loss of a causal language model for each sequence."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from landscope.errors import InputError

__all__ = ["language_model_losses"]

_IGNORED = -100


def language_model_losses(outputs: Any, labels: Int[Tensor, "b t"]) -> tuple[Float[Tensor, " b"], Int[Tensor, " b"]]:
    r"""The loss of each sequence under a causal language model, and its number of counted tokens.

    .. math:: l_k = -\sum_{i < t,\; z_{k,i+1} \ne -100} \log p(z_{k,i+1} \mid z_{k,\le i})

    The sum of the losses of all batches over the sum of their counts is the mean over tokens.

    Args:
        outputs: Output of the model, or its logits ``[b, t, C]``; position i predicts token i + 1.
        labels: Tokens ``[b, t]``, not shifted; -100 for ignored tokens.

    Returns:
        Losses ``[b]``, summed over tokens (in float32 for logits of half precision), and the counts ``[b]``.

    Raises:
        InputError: If there are no logits, or their shape does not match the labels.

    Example:
        Two tokens count, and all three tokens are equally likely.

        >>> import torch
        >>> losses, counts = language_model_losses(torch.zeros(1, 4, 3), torch.tensor([[0, 1, -100, 2]]))
        >>> losses.exp().round().tolist(), counts.tolist()
        ([9.0], [2])
    """
    logits = outputs if isinstance(outputs, Tensor) else getattr(outputs, "logits", None)
    if logits is None or logits.ndim != 3 or logits.shape[:2] != labels.shape:
        raise InputError(
            expected="logits [b, t, C] with labels [b, t]",
            got=f"{'no logits' if logits is None else list(logits.shape)} with labels {list(labels.shape)}",
            hint="Use a causal language model, and labels of the same shape as its input tokens.",
        )
    logits = logits.float() if logits.dtype.itemsize < torch.float32.itemsize else logits
    targets = labels[:, 1:]
    losses = F.cross_entropy(
        logits[:, :-1].flatten(0, 1), targets.flatten().long(), ignore_index=_IGNORED, reduction="none"
    )
    return losses.view(targets.shape).sum(dim=1), (targets != _IGNORED).sum(dim=1)
