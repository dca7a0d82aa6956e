"""Interpolation between old and new weights: nothing is held in training, and the end goes back part of the way."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Generator
from typing import Any

import torch
from torch import nn

from landscope._checks import check_number
from landscope.errors import InputError
from landscope.memory.report.weight_line import interpolated
from landscope.reproduction.sequential.low_rank import merge_low_rank

__all__ = ["WeightInterpolation"]


class WeightInterpolation:
    r"""Ends each training on the line from the weights before it (WiSE-FT; Wortsman et al., CVPR 2022).

    .. math:: w \leftarrow (1 - a) w_{\text{old}} + a w_{\text{new}}

    Changes of low rank are merged into their layers first, because the product of two factors does not follow a line.

    Args:
        model: The model in training.
        share: Share a of the new weights, from 0 to 1.

    Raises:
        InputError: If the share is not from 0 to 1.

    Example:
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> _ = model.weight.data.fill_(2.0)
        >>> memory = WeightInterpolation(model, share=0.25)
        >>> memory.consolidate(None, None)
        >>> with memory.training(torch.optim.SGD(model.parameters(), lr=0.1)):
        ...     _ = model.weight.data.fill_(6.0)
        >>> model.weight.item(), memory.n_stored
        (3.0, 1)
    """

    def __init__(self, model: nn.Module, *, share: float = 0.5) -> None:
        if not 0 <= check_number("share", share) <= 1:
            raise InputError(expected="a share from 0 to 1", got=f"{share}", hint="0.5 is halfway.")
        self.model, self.share = model, share
        self._old: dict[str, Any] | None = None

    @contextlib.contextmanager
    def training(self, optimizer: torch.optim.Optimizer) -> Generator[None]:  # noqa: ARG002 - the protocol's argument
        """Train freely; at the end, go back part of the way."""
        yield
        if self._old is not None:
            merge_low_rank(self.model)
            self.model.load_state_dict(interpolated(self.model, self._old, self.share))

    def consolidate(self, criterion: Any, data: Any) -> None:  # noqa: ARG002 - the protocol's arguments
        """Store the weights of the model."""
        old = copy.deepcopy(self.model)
        merge_low_rank(old)
        self._old = old.state_dict()

    @property
    def n_stored(self) -> int:
        """One old value for each weight that learns; the frozen ones are those of the model."""
        if self._old is None:
            return 0
        return sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)
