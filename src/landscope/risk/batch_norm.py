"""Batch normalisation with statistics that are re-estimated at every point of the landscape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from landscope.errors import InputError, LandscopeWarning
from landscope.notices import warn
from landscope.risk.data import Block
from landscope.risk.losses import SampleLosses
from landscope.risk.model_copy import detached_copy
from landscope.risk.module_cut import Calls
from landscope.risk.running_statistics import updating_layers
from landscope.risk.weighted_losses import WeightedLosses
from landscope.risk.whole_losses import ClosureLosses, whole_evaluation

__all__ = ["ReestimatedLosses", "warn_of_other_statistics"]


def warn_of_other_statistics() -> None:
    """Say that a landscape is centred at weights whose running statistics the risk does not have."""
    warn(
        "The lines start at other weights than those of the risk, but its batch normalisation keeps the running "
        "statistics of the model that it was made from. Make the risk from the whole model of that step "
        '(study.risk(step)), or pass batch_norm="re-estimated".',
        LandscopeWarning,
    )


class ReestimatedLosses(ClosureLosses):
    """Full evaluation after one pass over all data that re-estimates the statistics of batch normalisation.

    The statistics are averages over the blocks, as in ``torch.optim.swa_utils.update_bn``. All other layers, such as
    dropout, stay in eval mode.
    """

    def __init__(self, model: nn.Module, sample_losses: SampleLosses, blocks: Sequence[Block]) -> None:
        super().__init__(detached_copy(model), whole_evaluation(sample_losses), blocks)
        self._norms = [layer for layer in updating_layers(self._module) if isinstance(layer, _BatchNorm)]
        self._estimated_at: dict[str, Tensor] | None = None
        if not self._norms:
            raise InputError(
                expected="a model with running statistics of batch normalisation",
                got="a model without them",
                hint='Remove batch_norm="re-estimated".',
            )

    def evaluated(
        self, parameters: dict[str, Tensor], batch: Any, block: int, calls: Calls | None = None
    ) -> WeightedLosses:
        """The losses of a batch, with the statistics of all batches at these parameters."""
        if torch.is_grad_enabled() and any(value.requires_grad for value in parameters.values()):
            raise InputError(
                expected="a loss without derivatives, because its statistics are re-estimated",
                got="weights that require a gradient",
                hint='Use batch_norm="kept" for gradients, Hessians and minibatch noise.',
            )
        if parameters is not self._estimated_at:
            self._estimate(parameters)
        return super().evaluated(parameters, batch, block, calls)

    def statistics_at(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """The buffers of the model with the statistics of all batches at these parameters, by name."""
        self._estimate(parameters)
        return {name.removeprefix("model."): value for name, value in self._module.named_buffers()}

    @torch.no_grad()
    def _estimate(self, parameters: dict[str, Tensor]) -> None:
        for norm in self._norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain average over batches
            norm.train()
        for number, batch in enumerate(self.blocks):
            super().evaluated(parameters, batch, number)
        for norm in self._norms:
            norm.eval()
        self._estimated_at = parameters
