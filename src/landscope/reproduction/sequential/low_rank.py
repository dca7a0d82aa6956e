"""Changes of low rank to a frozen model (Hu et al., ICLR 2022, arXiv 2106.09685)."""

from __future__ import annotations

import fnmatch
from typing import Any

import torch
from torch import nn

from landscope._checks import check_count
from landscope.errors import InputError

__all__ = ["LowRankChange", "add_low_rank"]


class LowRankChange(nn.Module):
    """A frozen layer plus a learnt product of two thin matrices, which is zero at the beginning.

    Args:
        layer: A layer with a weight matrix; its inputs are rows.
        inputs: Length of an input.
        outputs: Length of an output.
        rank: Rank of the change.
    """

    def __init__(self, layer: nn.Module, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.layer = layer
        self.down = nn.Parameter(torch.randn(inputs, rank) / inputs**0.5)
        self.up = nn.Parameter(torch.zeros(rank, outputs))

    def forward(self, x: Any) -> Any:
        """``[..., inputs] -> [..., outputs]``; annotated loosely because it is also traced."""
        return self.layer(x) + x @ self.down @ self.up


def add_low_rank(model: nn.Module, pattern: str, rank: int) -> nn.Module:
    """Freeze a model, and add learnable low-rank changes to some layers.

    Args:
        model: Changed in place.
        pattern: Glob over the names of linear layers, or of the ``Conv1D`` of a GPT-2.
        rank: Rank of each change.

    Returns:
        The model.

    Raises:
        InputError: If no layer fits.

    Example:
        >>> model = add_low_rank(nn.Sequential(nn.Linear(8, 4)), "0", rank=2)
        >>> [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        ['0.down', '0.up']
    """
    check_count("rank", rank, minimum=1)
    linear = {name: layer for name, layer in model.named_modules() if _is_linear(layer)}
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
        setattr(home, name.rpartition(".")[2], LowRankChange(layer, inputs, outputs, rank).to(weight))
    return model


def _is_linear(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) or type(layer).__name__ == "Conv1D"
