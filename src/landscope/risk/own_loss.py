"""The loss that a model computes itself from labels, as models of transformers do, as a criterion of its outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from landscope.errors import InputError
from landscope.parameters import inner_model
from landscope.risk.data import call_arguments, first_pair, fits, signature_of
from landscope.risk.eval_mode import in_eval_mode
from landscope.risk.hints import described
from landscope.risk.language_model import language_model_losses, predicts_next_token, token_losses
from landscope.risk.losses import sample_losses_of
from landscope.risk.weighted_losses import total_weight

__all__ = ["criterion_and_data", "own_criterion", "takes_labels"]

_AGREE, _AGREE_IN_HALF = 1e-5, 2e-2
"""Relative difference up to which two losses are the same, and where the model computes its own in half precision."""
_ROUNDING = 1e-6
"""Rounding of a loss near zero in float32."""

_GIVE = (
    "Pass criterion(outputs, targets), such as torch.nn.CrossEntropyLoss() or language_model_losses of "
    "landscope.adapters.huggingface, or losses=f with f(model, batch)."
)
"""What to do where a model gives no loss that is known."""


def own_criterion(model: nn.Module, data: Any) -> Callable[..., Any]:
    """The criterion of outputs and targets that gives the loss that a model computes itself from labels.

    A penalty needs the loss of each sample, and how targets are distributed given the outputs. The loss inside a model
    is one number, and says neither. So the usual criteria are tried on the logits of the first batch, and the one that
    gives the same number is taken: cross-entropy of next tokens, of tokens, or of classes; binary cross-entropy of
    several labels; or the squared error. The model is called in eval mode, and neither it nor any random state changes.

    Args:
        model: A model that returns ``loss`` and ``logits`` where it gets ``labels``.
        data: The data of the risk, see :class:`landscope.EmpiricalRisk`; no iterator, which could be read once alone.

    Returns:
        The criterion.

    Raises:
        InputError: If the model takes no labels, returns no loss, needs labels to compute its logits, or no criterion
            or more than one gives its loss.
    """
    whole = inner_model(model)
    _check_is_module(whole)
    inputs, targets = first_pair(data, next((tensor.device for tensor in whole.parameters()), torch.device("cpu")))
    _check_takes_labels(whole, inputs)
    with torch.no_grad(), in_eval_mode(whole):
        outputs = _called(whole, inputs, targets)
        own, logits = _part(outputs, "loss"), _part(outputs, "logits")
        if own is None or own.numel() != 1 or logits is None:
            raise InputError(
                expected="a criterion, or a model that returns a loss and logits where it gets labels",
                got=f"neither, and of {type(whole).__name__} outputs {described(outputs)}, for labels "
                f"{described(targets)}",
                hint=_GIVE,
            )
        found = _values(logits, targets, next_token=predicts_next_token(outputs))
        _check_needs_no_labels(whole, inputs)
    return _the_one(whole, float(own), found, _AGREE if own.dtype.itemsize >= 4 else _AGREE_IN_HALF)


def criterion_and_data(
    model: nn.Module, criterion: Callable[..., Any] | None, data: Any
) -> tuple[Callable[..., Any], Any]:
    """The criterion, or where it is left out the one inside the model; and the data, which an iterator gives once.

    Raises:
        InputError: If there are no data, or the criterion inside the model is not known, see :func:`own_criterion`.
    """
    if data is None:
        raise InputError(
            expected="data", got="none",
            hint="Pass (model, criterion, data), or (model, data=batches) for a model that computes its loss itself.",
        )  # fmt: skip
    if criterion is not None:
        return criterion, data
    data = list(data) if isinstance(data, Iterator) else data
    return own_criterion(model, data), data


def takes_labels(model: nn.Module) -> bool:
    """Whether a model has an argument for labels, from which it may compute a loss."""
    signature = signature_of(inner_model(model))
    return signature is not None and "labels" in signature.parameters


def _the_one(model: nn.Module, own: float, found: list[tuple[Callable[..., Any], float]], agree: float) -> Any:
    """The criterion whose value is that of the model.

    Raises:
        InputError: If there is none, or more than one.
    """
    same = [criterion for criterion, value in found if abs(value - own) <= agree * abs(own) + _ROUNDING]
    if len(same) == 1:
        return same[0]
    tried = ", ".join(f"{value:.5g} by {_name(criterion)}" for criterion, value in found)
    raise InputError(
        expected=f"one usual criterion of the logits that gives the loss {own:.5g} inside {type(model).__name__}",
        got=f"{len(same)} of {len(found)}: {tried}" if found else "none for targets of this shape",
        hint=f"Say which one it is, or how it is computed from outputs and targets. {_GIVE}",
    )


def _values(logits: Tensor, targets: Any, *, next_token: bool) -> list[tuple[Callable[..., Any], float]]:
    """The criteria that take logits and targets of these shapes, with the mean loss by each."""
    found = []
    for criterion in _criteria(logits, targets, next_token=next_token):
        losses, weight = sample_losses_of(criterion)(logits.float(), targets)
        total = total_weight(weight)
        if total:
            found.append((criterion, float(losses.double().sum()) / total))
    return found


def _criteria(logits: Tensor, targets: Any, *, next_token: bool) -> list[Callable[..., Any]]:
    if not isinstance(targets, Tensor):
        return []
    if targets.is_floating_point():
        return [nn.BCEWithLogitsLoss(), nn.MSELoss()] if targets.shape == logits.shape else []
    if targets.ndim == 2 and logits.ndim == 3 and logits.shape[:2] == targets.shape:
        return [language_model_losses, token_losses] if next_token else [token_losses]
    return [nn.CrossEntropyLoss()] if targets.ndim == 1 and logits.ndim == 2 else []


def _check_is_module(model: Any) -> None:
    if not isinstance(model, nn.Module):
        raise InputError(expected="a model (torch.nn.Module)", got=type(model).__name__, hint="Pass the model itself.")


def _check_takes_labels(model: nn.Module, inputs: Any) -> None:
    positional, keywords = call_arguments(model, inputs)
    if not fits(model, positional, {**keywords, "labels": None}):
        raise InputError(
            expected="either a criterion or losses=",
            got=f"neither, and {type(model).__name__} takes no labels to compute a loss itself", hint=_GIVE,
        )  # fmt: skip


def _called(model: nn.Module, inputs: Any, targets: Any) -> Any:
    positional, keywords = call_arguments(model, inputs)
    try:
        return model(*positional, **keywords, labels=targets)
    except Exception as error:
        raise InputError(
            expected=f"either a criterion or losses=, or inputs and labels that {type(model).__name__} takes",
            got=f"neither, and {type(error).__name__}: {str(error)[:200]}",
            hint=f"The inputs are {described(inputs)}, and labels={described(targets)}. A batch has one more axis than "
            "a sample: pass torch.utils.data.DataLoader(samples, batch_size=16), with the collate_fn of the training.",
        ) from error


def _check_needs_no_labels(model: nn.Module, inputs: Any) -> None:
    """Raise where the outputs cannot be had without the labels, as of models with a decoder."""
    positional, keywords = call_arguments(model, inputs)
    try:
        model(*positional, **keywords)
    except Exception as error:
        raise InputError(
            expected=f"inputs from which {type(model).__name__} computes its logits without the labels",
            got=f"{type(error).__name__}: {str(error)[:200]}",
            hint="Add to each batch what the model makes of its labels: for a model with a decoder decoder_input_ids, "
            "as transformers.DataCollatorForSeq2Seq(tokenizer, model=model) does, or "
            "model.prepare_decoder_input_ids_from_labels(labels).",
        ) from error


def _part(outputs: Any, name: str) -> Tensor | None:
    found = outputs.get(name) if isinstance(outputs, Mapping) else getattr(outputs, name, None)
    return found if isinstance(found, Tensor) else None


def _name(criterion: Any) -> str:
    return getattr(criterion, "__name__", type(criterion).__name__)
