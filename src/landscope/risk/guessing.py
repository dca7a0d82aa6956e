"""The loss of guessing: that of a model that gives every class the same chance."""

from __future__ import annotations

import torch

from landscope.risk.answers import ClassAnswers
from landscope.risk.empirical import EmpiricalRisk
from landscope.risk.evaluation import on_all_data
from landscope.risk.outputs import output_source

__all__ = ["classes_guessed"]


@torch.no_grad()
@on_all_data()
def classes_guessed(risk: EmpiricalRisk) -> int | None:
    """The number of classes C, where the risk is the mean cross-entropy, so that guessing has the loss ln C.

    None for other losses, and for a class at each of several places by a criterion of torch, whose sum over them the
    risk may be.

    Example:
        >>> model = torch.nn.Linear(1, 3)
        >>> data = torch.ones(4, 1), torch.tensor([0, 1, 2, 0])
        >>> classes_guessed(EmpiricalRisk(model, torch.nn.CrossEntropyLoss(), data))
        3
    """
    fisher = risk.fisher_information()
    answers = fisher.answers
    if not fisher.knows_answers or not isinstance(answers, ClassAnswers):
        return None
    logits = output_source(fisher.blocks).outputs(risk.space.unflatten(risk.w0), 0).tensors[0]
    is_mean = logits.ndim == 2 or answers.axis == -1
    return logits.shape[answers.axis] if is_mean and logits.shape[answers.axis] > 1 else None
