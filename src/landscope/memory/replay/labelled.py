"""Samples with one class each, or with one token each place, and the logits of a model for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from landscope.errors import InputError
from landscope.memory.replay.model_answers import ModelAnswers
from landscope.risk.data import read_data
from landscope.risk.hints import described
from landscope.risk.samples import count_of, joined, moved, rows_of

__all__ = ["IGNORED", "Labelled", "labelled_samples", "logits_of"]

IGNORED = -100
"""Label of a place that does not count."""
_PLAIN = ModelAnswers()

_FORMS = (
    "Pass (inputs, labels) or batches of them, or mappings with labels: integers, one a sample, or for a language "
    "model one a token."
)


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Samples in main memory.

    Args:
        inputs: Inputs of the model: a tensor, or a mapping or a tuple of tensors.
        labels: Class of each sample, or class of each place.
        shifted: Whether place i predicts the label of place i + 1, as with the tokens of a causal language model.
    """

    inputs: Any
    labels: Int[Tensor, "*shape"]
    shifted: bool = False

    def at(self, rows: slice | Tensor) -> Labelled:
        """Some of the samples."""
        return dataclasses.replace(self, inputs=rows_of(self.inputs, len(self.labels), rows), labels=self.labels[rows])

    def joined(self, later: Labelled) -> Labelled:
        """These and later ones.

        Raises:
            InputError: If they have another form.
        """
        return _joined([(self.inputs, self.labels), (later.inputs, later.labels)], self.shifted, later.shifted)

    @property
    def n_stored(self) -> int:
        """Number of values stored."""
        return self.labels.numel() + sum(part.numel() for part in _leaves(self.inputs) if isinstance(part, Tensor))

    @property
    def has_tokens(self) -> bool:
        """Whether there is a label for each place."""
        return self.labels.ndim == 2


def labelled_samples(data: Any) -> Labelled:
    """All inputs and labels.

    Sequences of different lengths are filled up at their end: labels with -100, everything else with 0.

    Raises:
        InputError: If they are no inputs with an integer label each.
    """
    try:
        pairs, _ = read_data(data, torch.device("cpu"))
    except InputError as error:
        raise InputError(expected=error.expected, got=error.got, hint=f"For replay: {_FORMS}") from error
    for inputs, labels in pairs:
        if not _is_labelled(inputs, labels):
            raise InputError(
                expected="inputs of tensors, with an integer label each", got=f"{_of(inputs)}, {_of(labels)}",
                hint=_FORMS,
            )  # fmt: skip
    shifted = {_repeats(inputs, labels) for inputs, labels in pairs}
    found = _joined([(inputs, labels.long()) for inputs, labels in pairs], *shifted)
    counted = found.labels[found.labels != IGNORED] if found.has_tokens else found.labels
    lowest = int(counted.min()) if len(counted) else -1
    floats = [part for part in _leaves(found.inputs) if isinstance(part, Tensor) and part.is_floating_point()]
    if lowest < 0 or not all(bool(torch.isfinite(part).all()) for part in floats):
        raise InputError(
            expected="labels of at least 0 and finite inputs",
            got=f"a smallest label {lowest}" if lowest < 0 else "NaN or infinity in the inputs", hint=_FORMS,
        )  # fmt: skip
    return found


def logits_of(
    model: nn.Module, samples: Labelled, answers: ModelAnswers = _PLAIN
) -> tuple[Float[Tensor, "n columns"], Int[Tensor, " n"]]:
    """The logits of a batch and their labels: one row a sample, or one for each place that counts.

    Raises:
        InputError: If the model gives something else.
    """
    device = next(model.parameters()).device
    logits, labels = answers(model, moved(samples.inputs, device)), samples.labels.to(device)
    if not isinstance(logits, Tensor) or logits.shape[:-1] != labels.shape or not logits.is_floating_point():
        raise InputError(
            expected=f"a model with logits of shape {(*labels.shape, 'classes')}", got=described(logits),
            hint=answers.hint(samples.inputs),
        )  # fmt: skip
    if samples.shifted:
        logits, labels = logits[:, :-1], labels[:, 1:]
    counted = labels != IGNORED
    return (logits[counted], labels[counted]) if samples.has_tokens else (logits, labels)


def tokens_of(inputs: Any) -> Tensor | None:
    """The tokens in the inputs of a language model."""
    found = inputs.get("input_ids") if isinstance(inputs, Mapping) else inputs
    is_tokens = isinstance(found, Tensor) and found.ndim == 2 and found.dtype in (torch.int64, torch.int32)
    return found if is_tokens else None


def _is_labelled(inputs: Any, labels: Any) -> bool:
    if not isinstance(labels, Tensor) or labels.dtype == torch.bool or labels.is_floating_point():
        return False
    parts = _leaves(inputs)
    are_tensors = bool(parts) and all(isinstance(part, Tensor) and part.ndim for part in parts)
    is_one_number = isinstance(inputs, Tensor) and inputs.ndim < 2
    return are_tensors and not is_one_number and labels.ndim in (1, 2) and count_of(inputs, labels) == len(labels)


def _repeats(inputs: Any, labels: Tensor) -> bool:
    """Whether the labels are the tokens of the inputs themselves."""
    tokens = tokens_of(inputs)
    if tokens is None or tokens.shape != labels.shape:
        return False
    counted = labels != IGNORED
    return bool(counted.any()) and bool((tokens == labels)[counted].all())


def _joined(pairs: Sequence[tuple[Any, Tensor]], *shifted: bool) -> Labelled:
    try:
        if len(set(shifted)) > 1:
            raise ValueError("labels that repeat the tokens, and others that do not")
        longest, most = (_longest(pairs, part) for part in (0, 1))
        filled = [(_filled(inputs, longest), _filled(labels, most, IGNORED)) for inputs, labels in pairs]
        counts = [len(labels) for _, labels in pairs]
        return Labelled(*(joined(part, counts) for part in zip(*filled, strict=True)), shifted=shifted[0])
    except ValueError as error:
        raise InputError(
            expected="samples of one form, in all tasks", got=str(error),
            hint="Replay needs inputs of the same names, shapes and types everywhere; sequences may differ in length.",
        ) from error  # fmt: skip


def _longest(pairs: Sequence[tuple[Any, Tensor]], part: int) -> list[int]:
    """Largest length of each tensor of the inputs, or of the labels."""
    lengths = [[_length(leaf) for leaf in _leaves(pair[part])] for pair in pairs]
    return [max(sizes) for sizes in zip(*lengths, strict=False)]  # other structures are refused where they are joined


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        value = tuple(value.values())
    return [leaf for each in value for leaf in _leaves(each)] if isinstance(value, tuple | list) else [value]


def _length(leaf: Any) -> int:
    return leaf.shape[1] if _is_sequence(leaf) else 0


def _is_sequence(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.ndim == 2 and not leaf.is_floating_point()


def _filled(value: Any, lengths: Sequence[int], filling: int = 0) -> Any:
    """The same with sequences of these lengths."""
    places = iter(lengths)

    def of(part: Any) -> Any:
        if isinstance(part, Mapping):
            return {name: of(each) for name, each in part.items()}
        if isinstance(part, tuple | list):
            return type(part)(of(each) for each in part)
        missing = next(places, 0) - _length(part)
        return F.pad(part, (0, missing), value=filling) if _is_sequence(part) and missing > 0 else part

    return of(value)


def _of(part: Any) -> str:
    return f"{part.dtype} of shape {tuple(part.shape)}" if isinstance(part, Tensor) else type(part).__name__
