"""The conditions under which a loss function of the user is evaluated: its mode and its random numbers."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Generator
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from landscope._checks import check_choice, check_seed
from landscope.seeded import seeded

__all__ = ["Conditions", "Mode", "is_random_or_has_statistics", "own_buffers"]

Mode = Literal["eval", "train"]
"""Mode of the model; in ``"train"``, normalisation keeps its statistics and dropout stays off."""

_RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)


@dataclasses.dataclass(frozen=True)
class Conditions:
    """How ``batch_losses(model, batch)`` is evaluated.

    Args:
        mode: Mode of the model.
        seed: Seed of the random numbers of the first batch; each further batch has the next one. None if the loss draws
            none.
        generators: Random generators of the loss, which are seeded too.
    """

    mode: Mode = "eval"
    seed: int | None = None
    generators: tuple[torch.Generator, ...] = ()

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, get_args(Mode))
        if self.seed is not None:
            check_seed(self.seed)

    def prepare(self, model: nn.Module) -> None:
        """Set the mode of a copy of the model."""
        model.train(self.mode == "train")
        for module in model.modules():
            if is_random_or_has_statistics(module):
                module.eval()

    @contextlib.contextmanager
    def of_batch(self, model: nn.Module, number: int) -> Generator[None]:
        """The conditions of one batch; the function may change modes, but not for others."""
        modes = [(module, module.training) for module in model.modules()]
        with contextlib.ExitStack() as stack:
            if self.seed is not None:
                stack.enter_context(seeded(self.seed + number))
                for generator in self.generators:
                    generator.manual_seed(self.seed + number)
            try:
                yield
            finally:
                for module, training in modes:
                    module.training = training


def own_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the buffers that belong to the state of the model: in train mode, its layers may change them."""
    return {
        f"{prefix}{'.' if prefix else ''}{name}": buffer.clone()
        for prefix, module in model.named_modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and name not in module._non_persistent_buffers_set
    }


def is_random_or_has_statistics(module: nn.Module) -> bool:
    """Whether a layer draws numbers or takes statistics of the batch in train mode."""
    if isinstance(module, nn.modules.batchnorm._NormBase | nn.modules.dropout._DropoutNd):
        return True
    if isinstance(module, (*_RECURRENT, nn.MultiheadAttention)):
        return bool(module.dropout)
    return isinstance(module, nn.RReLU) or any(word in type(module).__name__ for word in ("Dropout", "DropPath"))
