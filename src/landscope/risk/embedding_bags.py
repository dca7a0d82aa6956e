"""Bags of embeddings with derivatives of every order, of which torch has only the first."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["TwiceDifferentiableBag", "with_second_derivatives"]


class TwiceDifferentiableBag(nn.EmbeddingBag):
    """The sum or the mean over each row of a matrix of indices, by an embedding and a sum.

    Bags of other forms (``offsets``, the maximum, rescaled or counted rows) are left to torch.
    """

    def forward(self, input: Any, offsets: Any = None, per_sample_weights: Any = None) -> Any:  # noqa: A002 - as in torch
        """The same values as those of the bag of torch, but for rounding; torch.fx passes other kinds than tensors."""
        plain = self.mode in ("sum", "mean") and self.max_norm is None and not self.scale_grad_by_freq
        if offsets is not None or not plain:
            return super().forward(input, offsets, per_sample_weights)
        rows = F.embedding(input, self.weight, self.padding_idx)
        counted = torch.ones_like(input) if self.padding_idx is None else (input != self.padding_idx)
        factors = counted.to(rows.dtype)
        if per_sample_weights is not None:
            factors = factors * per_sample_weights
        total = (rows * factors[..., None]).sum(dim=1)
        return total if self.mode == "sum" else total / counted.sum(dim=1, keepdim=True).clamp(min=1)


def with_second_derivatives(model: nn.Module) -> None:
    """Let the bags of a private copy of a model have derivatives of every order."""
    for part in model.modules():
        if type(part) is nn.EmbeddingBag:
            part.__class__ = TwiceDifferentiableBag
