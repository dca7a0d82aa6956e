"""The losses of language models for each sequence."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from landscope.errors import InputError

__all__ = ["language_model_losses", "predicts_next_token", "token_losses"]

_IGNORED = -100
_NOT_SHIFTED = ("MaskedLM", "Seq2SeqLM", "TokenClassifier")
"""Parts of the names of outputs of transformers whose position i predicts label i."""


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
        InputError: If there are no logits, their shape does not match the labels, or the model predicts the token at
            each position and not the next one, as a masked language model does.

    Example:
        Two tokens count, and all three tokens are equally likely.

        >>> import torch
        >>> losses, counts = language_model_losses(torch.zeros(1, 4, 3), torch.tensor([[0, 1, -100, 2]]))
        >>> losses.exp().round().tolist(), counts.tolist()
        ([9.0], [2])
    """
    if not predicts_next_token(outputs):
        raise InputError(
            expected="outputs of a causal language model, whose position i predicts token i + 1",
            got=f"{type(outputs).__name__}, whose position i predicts label i",
            hint="Leave out both criterion and losses: ls.keep(model, data=batches) takes the loss that the model "
            "itself computes. In other places compute the loss without a shift.",
        )
    logits = _logits(outputs, labels)
    return _summed(logits[:, :-1], labels[:, 1:])


def token_losses(outputs: Any, labels: Int[Tensor, "b t"]) -> tuple[Float[Tensor, " b"], Int[Tensor, " b"]]:
    r"""The loss of each sequence where position i predicts label i, and its number of counted labels.

    .. math:: l_k = -\sum_{i \le t,\; z_{k,i} \ne -100} \log p(z_{k,i} \mid x_k)

    It is that of masked language models, of models with an encoder and a decoder, and of classifiers of tokens.

    Args:
        outputs: Output of the model, or its logits ``[b, t, C]``.
        labels: Labels ``[b, t]``; -100 for ignored ones.

    Returns:
        Losses ``[b]``, summed over labels (in float32 for logits of half precision), and the counts ``[b]``.

    Raises:
        InputError: If there are no logits, or their shape does not match the labels.

    Example:
        >>> import torch
        >>> losses, counts = token_losses(torch.zeros(1, 4, 3), torch.tensor([[0, 1, -100, 2]]))
        >>> losses.exp().round().tolist(), counts.tolist()
        ([27.0], [3])
    """
    return _summed(_logits(outputs, labels), labels)


def predicts_next_token(outputs: Any) -> bool:
    """False where the class of the outputs says that position i predicts label i."""
    return not any(part in type(outputs).__name__ for part in _NOT_SHIFTED)


def _logits(outputs: Any, labels: Tensor) -> Tensor:
    logits = outputs if isinstance(outputs, Tensor) else getattr(outputs, "logits", None)
    if logits is None or logits.ndim != 3 or logits.shape[:2] != labels.shape:
        raise InputError(
            expected="logits [b, t, C] with labels [b, t]",
            got=f"{'no logits' if logits is None else list(logits.shape)} with labels {list(labels.shape)}",
            hint="Use a language model, and labels of the same shape as the tokens that it predicts.",
        )
    return logits.float() if logits.dtype.itemsize < torch.float32.itemsize else logits


def _summed(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The cross-entropy of each sequence over its counted targets, and their number."""
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten().long(), ignore_index=_IGNORED, reduction="none")
    return losses.view(targets.shape).sum(dim=1), (targets != _IGNORED).sum(dim=1)
