"""Samples with one class each, and the logits of a model."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from landscope._checks import explained
from landscope.errors import InputError
from landscope.risk.data import is_pair_of_tensors

__all__ = ["labelled_samples", "logits_of"]

_PAIRS = "Pass (inputs, labels), or batches of them; labels are integers, one a sample."


def labelled_samples(data: Any) -> tuple[Tensor, Int[Tensor, " m"]]:
    """All inputs and labels, in main memory.

    Raises:
        InputError: If they are not inputs as one tensor with an integer label each.
    """
    with explained("inputs and labels, or batches of them", _PAIRS):
        batches = [tuple(data)] if is_pair_of_tensors(data) else [tuple(batch) for batch in data]
    if not batches or any(not _is_labelled(batch) for batch in batches):
        got = "no batch" if not batches else ", ".join(map(_described, next(b for b in batches if not _is_labelled(b))))
        raise InputError(expected="inputs as a tensor, with an integer label each", got=got, hint=_PAIRS)
    inputs, labels = (torch.cat([batch[part].detach().cpu() for batch in batches]) for part in (0, 1))
    if not len(labels) or int(labels.min()) < 0 or not bool(torch.isfinite(inputs).all()):
        raise InputError(
            expected="one sample or more, with labels of at least 0 and finite inputs",
            got="no sample" if not len(labels) else f"a smallest label {int(labels.min())}, or NaN in the inputs",
            hint=_PAIRS,
        )  # fmt: skip
    return inputs, labels.long()


def _is_labelled(batch: tuple[Any, ...]) -> bool:
    if len(batch) != 2 or not all(isinstance(part, Tensor) for part in batch):
        return False
    inputs, labels = batch
    is_class = labels.ndim == 1 and not labels.is_floating_point() and labels.dtype != torch.bool
    return is_class and inputs.ndim > 1 and len(inputs) == len(labels)


def _described(part: Any) -> str:
    return f"{part.dtype} of shape {tuple(part.shape)}" if isinstance(part, Tensor) else type(part).__name__


def logits_of(model: nn.Module, inputs: Tensor) -> Float[Tensor, "b columns"]:
    """The logits of a batch.

    Raises:
        InputError: If the model gives something else.
    """
    found = model(inputs)
    found = found if isinstance(found, Tensor) else getattr(found, "logits", found)
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(inputs) or not found.is_floating_point():
        raise InputError(
            expected="a model with one row of logits a sample", got=_described(found),
            hint="Replay works for classifiers; keep a language model with a TaskMemory.",
        )  # fmt: skip
    return found
