"""The same loss on the same samples, of a model with other parameters, such as one with more words."""

from __future__ import annotations

from torch import nn

from landscope.errors import InputError
from landscope.parameters import ParameterSpace
from landscope.risk import checks
from landscope.risk.copied import copied
from landscope.risk.empirical import EmpiricalRisk
from landscope.risk.evaluation import BlockLosses, BlockOutputs, on_all_data
from landscope.risk.model_copy import precise
from landscope.risk.whole_losses import ClosureLosses, WholeLosses, whole_evaluation

__all__ = ["risk_of_other_model"]


def risk_of_other_model(risk: EmpiricalRisk, model: nn.Module, space: ParameterSpace) -> EmpiricalRisk:
    """The risk of another model, by evaluation of the whole model: without derivatives that need its layers.

    Args:
        risk: A risk.
        model: A model that takes the same inputs, and whose outputs fit the same targets.
        space: Its selected parameters.

    Raises:
        InputError: If the loss cannot be that of another model, or does not depend on its weights.

    Example:
        >>> import torch
        >>> model, wider = torch.nn.Linear(1, 2, bias=False), torch.nn.Linear(1, 4, bias=False)
        >>> data = torch.ones(4, 1), torch.tensor([0, 1, 0, 1])
        >>> risk = EmpiricalRisk(model, torch.nn.CrossEntropyLoss(), data)
        >>> other = risk_of_other_model(risk, wider, ParameterSpace.of(wider))
        >>> round(other(torch.zeros(4)).exp().item(), 6)
        4.0
    """
    other = EmpiricalRisk.__new__(type(risk))
    other.__dict__ = {name: value for name, value in vars(risk).items() if name in ("_class_major", "_cache_bytes")}
    other.space, other._batch_norm, other._answers = space, "kept", None
    other._blocks = _blocks_of(risk._blocks, copied(model))
    other._set_model(other._blocks.model)
    with on_all_data():
        checks.check_losses(other._blocks, space, other.w0)
    return other


def _blocks_of(blocks: BlockLosses, own: nn.Module) -> ClosureLosses:
    if isinstance(blocks, BlockOutputs):
        own, pairs = precise(own, blocks.blocks, whole_evaluation(blocks.sample_losses))
        return WholeLosses(own, blocks.sample_losses, pairs)
    if type(blocks) is ClosureLosses:
        return blocks.of_model(own)
    raise InputError(
        expected="a loss of outputs and targets, or of a model and a batch", got=type(blocks).__name__,
        hint="Make a risk of the other model.",
    )  # fmt: skip
