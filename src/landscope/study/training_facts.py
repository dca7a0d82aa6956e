"""What a recording notes of its training: the optimiser, its options, and the minibatches."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch

from landscope.errors import InputError
from landscope.optimizer_steps import shared_rate
from landscope.storage.folder import ResultFolder

__all__ = ["TrainingFacts", "check_heavy_ball", "facts_of", "training_facts"]


@dataclasses.dataclass(frozen=True)
class TrainingFacts:
    """What the analysis must know of the training beside its weights.

    Args:
        optimizer: Name of the optimiser's class; empty where it is not known.
        learning_rate: Learning rate alpha of the recorded weights when recording began; NaN where it is not known, or
            not one number.
        momentum: Momentum of SGD; 0 where there is none.
        weight_decay: Weight decay.
        dampening: Dampening of the momentum.
        nesterov: Whether the momentum is Nesterov's.
        maximize: Whether the steps go up the loss.
        beta1: Momentum of Adam and its kin; 0 for other optimisers.
        decoupled: Whether the weight decay does not pass through the moments of Adam.
        groups_differ: Whether the recorded weights are in parameter groups with different options; the options are then
            those of the first group.
        every: Steps between two recorded rows.
        batch_size: Samples in a minibatch of the training, as a Trainer's callback noted it; None if unknown.
        steps_per_epoch: Steps in an epoch of the training, noted likewise.
        data_batch_size: Samples in a minibatch of the data that the landscape is measured on; None if unknown.
        data_steps_per_epoch: Minibatches in an epoch of these data.
    """

    optimizer: str = ""
    learning_rate: float = float("nan")
    momentum: float = 0.0
    weight_decay: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    maximize: bool = False
    beta1: float = 0.0
    decoupled: bool = False
    groups_differ: bool = False
    every: int = 1
    batch_size: int | None = None
    steps_per_epoch: int | None = None
    data_batch_size: int | None = None
    data_steps_per_epoch: int | None = None

    @property
    def is_heavy_ball(self) -> bool:
        """Whether it is SGD, plain or with momentum and weight decay, and with the same options for all weights."""
        unusual = self.dampening or self.nesterov or self.maximize or self.groups_differ
        return self.optimizer == "SGD" and not unusual

    @property
    def is_plain_sgd(self) -> bool:
        """Whether a step is the learning rate times the gradient, as the paper's formulas take it."""
        return self.is_heavy_ball and not self.momentum and not self.weight_decay


def check_heavy_ball(facts: TrainingFacts, *, hint: str) -> None:
    """Refuse optimisers other than SGD, and options of SGD other than momentum and weight decay.

    Args:
        facts: What is known of the training.
        hint: Why the formula at hand does not hold for them.

    Raises:
        InputError: If the optimiser or its options are others.
    """
    if not facts.is_heavy_ball:
        raise InputError(
            expected="SGD with one learning rate, with or without momentum and weight decay",
            got="SGD with other options" if facts.optimizer == "SGD" else facts.optimizer or "one that is not known",
            hint=hint,
        )


def training_facts(folder: ResultFolder, note: str = "training") -> TrainingFacts:
    """The facts that a recording left in the folder, or that a training that went on did."""
    kept = folder.read_note(note)
    known = {field.name for field in dataclasses.fields(TrainingFacts)}
    return TrainingFacts(**{name: value for name, value in kept.items() if name in known and value is not None})


def facts_of(optimizer: torch.optim.Optimizer, groups: Sequence[dict[str, Any]], every: int) -> TrainingFacts:
    """What an optimiser says of the steps of the weights in some of its parameter groups."""
    options, rate = [_options(group) for group in groups], shared_rate(groups)
    return TrainingFacts(
        optimizer=type(optimizer).__name__,
        learning_rate=rate,
        groups_differ=any(other != options[0] for other in options) or (len(groups) > 1 and math.isnan(rate)),
        every=every,
        **options[0],
    )


def _options(group: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: float(group.get(name) or 0.0) for name in ("momentum", "weight_decay", "dampening")},
        **{name: bool(group.get(name)) for name in ("nesterov", "maximize")},
        "beta1": float(group["betas"][0]) if "betas" in group else 0.0,
        "decoupled": bool(group.get("decoupled_weight_decay")),
    }
