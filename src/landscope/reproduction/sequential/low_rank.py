"""Changes of low rank to a frozen model (Hu et al., ICLR 2022, arXiv 2106.09685)."""

from __future__ import annotations

import fnmatch
from typing import Any

import torch
from torch import nn

from landscope.errors import InputError

__all__ = ["add_low_rank", "merge_low_rank"]


class _LowRankChange(nn.Module):
    """A frozen layer plus a learnt product of two thin matrices, which is zero at the beginning."""

    def __init__(self, layer: nn.Module, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.layer = layer
        self.down = nn.Parameter(torch.randn(inputs, rank) / inputs**0.5)
        self.up = nn.Parameter(torch.zeros(rank, outputs))

    def forward(self, x: Any) -> Any:
        """``[..., inputs] -> [..., outputs]``; annotated loosely because it is also traced."""
        return self.layer(x) + x @ self.down @ self.up

    @torch.no_grad()
    def merge(self) -> None:
        """Move the product into the frozen layer; the change is zero again, the outputs stay the same."""
        weight, change = self.layer.get_parameter("weight"), self.down @ self.up
        weight.add_(change.T if isinstance(self.layer, nn.Linear) else change)  # Conv1D is transposed
        self.up.zero_()


def add_low_rank(model: nn.Module, pattern: str, rank: int) -> None:
    """Freeze a model, and add learnable low-rank changes to some layers, in place.

    Args:
        model: The model.
        pattern: Glob over the names of linear layers, or of the ``Conv1D`` of a GPT-2.
        rank: Rank of each change.

    Raises:
        InputError: If no layer fits.
    """
    linear = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) or type(layer).__name__ == "Conv1D"
    }
    matching = {name: layer for name, layer in linear.items() if fnmatch.fnmatchcase(name, pattern)}
    if not matching:
        known = ", ".join(linear) or "none at all"
        raise InputError(expected=f"linear layers like {pattern}", got=known, hint="See model.named_modules().")
    model.requires_grad_(requires_grad=False)
    for name, layer in matching.items():
        weight = layer.get_parameter("weight")
        rows, columns = weight.shape
        inputs, outputs = (columns, rows) if isinstance(layer, nn.Linear) else (rows, columns)  # Conv1D is transposed
        home = model.get_submodule(name.rpartition(".")[0])
        setattr(home, name.rpartition(".")[2], _LowRankChange(layer, inputs, outputs, rank).to(weight))


def merge_low_rank(model: nn.Module) -> None:
    """Move all low-rank changes of a model into their layers, in place; a model without any stays as it is."""
    for module in model.modules():
        if isinstance(module, _LowRankChange):
            module.merge()
