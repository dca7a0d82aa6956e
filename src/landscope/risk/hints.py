"""What to do where a model does not accept its inputs, or a criterion the outputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscope.errors import InputError
from landscope.risk.data import signature_of

__all__ = ["check_takes_two", "criterion_hint", "described", "inputs_hint"]

_FEW_PARTS = 8

FUNCTION_OF_BATCH = (
    "A function f(model, batch) is no criterion: pass it as losses=f to ls.Study, ls.keep or memory.consolidate, or "
    "call EmpiricalRisk.from_closure(model, f, data); leave both out for model(**batch).loss."
)
"""What to do with a function of the model and a batch."""

CRITERION_HINT = (
    "Check the shape and the dtype of the targets: class labels are integers, and the targets of other losses, such as "
    "BCEWithLogitsLoss and MSELoss, floating-point numbers (y.float()). The criterion is called as "
    f"criterion(outputs, targets). {FUNCTION_OF_BATCH}"
)
"""What to do where a criterion fails."""


def criterion_hint(targets: Any) -> str:
    """What to do where a criterion fails for some targets."""
    leaves = targets.values() if isinstance(targets, Mapping) else targets if isinstance(targets, tuple) else [targets]
    arrays = any(isinstance(leaf, np.ndarray) for leaf in leaves)
    return ("Arrays of numpy become tensors by torch.as_tensor(array). " if arrays else "") + CRITERION_HINT


def described(value: Any) -> str:
    """Shapes and dtypes of tensors, also within mappings and sequences; the type of anything else."""
    if isinstance(value, Tensor):
        return f"{list(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, Mapping) and value:
        return "{" + ", ".join(f"{name}: {described(part)}" for name, part in value.items()) + "}"
    if isinstance(value, tuple | list) and 0 < len(value) <= _FEW_PARTS:
        return "(" + ", ".join(map(described, value)) + ")"
    return f"of type {type(value).__name__}"


def inputs_hint(model: nn.Module, inputs: Any) -> str:
    """What to do where a model does not accept some inputs."""
    parts = [f"The inputs are {described(inputs)}.", "Check their shape and their dtype."]
    like = next((weight for weight in model.parameters() if weight.is_floating_point()), None)
    leaves = inputs if isinstance(inputs, tuple | list) else [inputs]
    others = {leaf.dtype for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()}
    if like is not None and others - {like.dtype}:
        way = "inputs.float()" if like.dtype == torch.float32 else f"inputs.to({like.dtype})"
        parts.append(f"The weights are in {str(like.dtype).removeprefix('torch.')}: pass {way}.")
    if any(isinstance(leaf, np.ndarray) for leaf in leaves):
        parts.append("Arrays of numpy become tensors by torch.as_tensor(array).")
    if not isinstance(inputs, Mapping) and (names := _keywords_alone(model)):
        parts.append(
            f"{type(model).__name__}.forward takes keywords alone: {', '.join(names)}. Pass batches as mappings with "
            f"the targets, such as [{{{names[0]!r}: x, 'labels': y}}], or pass losses=f, where f(model, batch) "
            "calls the model and gives the losses."
        )
    elif isinstance(inputs, tuple):
        parts.append(
            "The last item of a batch is the targets, and all others are inputs: leave out what is neither, such as an "
            "index, by [(x, y) for x, y, _ in loader]."
        )
    if isinstance(inputs, Mapping) and not any(isinstance(part, Tensor) and part.ndim > 1 for part in inputs.values()):
        parts.append(
            "A batch has one more axis than a sample: pass torch.utils.data.DataLoader(samples, batch_size=16), with "
            "the collate_fn of the training."
        )
    if isinstance(inputs, Mapping) and (signature := signature_of(model)) is not None:
        wanted = ", ".join(signature.parameters)
        parts.append(
            "The targets, under labels, label, targets or target, are taken out of a mapping, and the other keys are "
            f"the keywords of {type(model).__name__}.forward, which are: {wanted}. Rename the keys."
        )
    return " ".join(parts)


def _keywords_alone(model: nn.Module) -> list[str]:
    """The arguments of a model that takes none by its position."""
    signature = signature_of(model)
    parameters = () if signature is None else signature.parameters.values()
    by_position = any(each.kind not in (each.KEYWORD_ONLY, each.VAR_KEYWORD) for each in parameters)
    return [] if by_position else [each.name for each in parameters if each.kind == each.KEYWORD_ONLY]


def check_takes_two(criterion: Callable[..., Any]) -> None:
    """Raise if a criterion cannot be called with outputs and targets.

    Raises:
        InputError: If it needs more or fewer arguments.
    """
    if isinstance(criterion, nn.GaussianNLLLoss):  # the model returns two of its arguments
        return
    try:
        signature = inspect.signature(criterion.forward if isinstance(criterion, nn.Module) else criterion)
    except (TypeError, ValueError):  # a function in C
        return
    try:
        signature.bind(None, None)
    except TypeError:
        raise InputError(
            expected="a criterion that can be called as criterion(outputs, targets)",
            got=f"a function of ({', '.join(signature.parameters)})",
            hint="Fix other arguments by functools.partial or a lambda, or give them as parts of the targets: a batch "
            f"(inputs, {{'labels': y, 'weights': v}}). {FUNCTION_OF_BATCH}",
        ) from None
