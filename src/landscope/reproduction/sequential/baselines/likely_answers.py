"""EWC with the Fisher information of the likeliest answer of each sample, as in a published comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from landscope.memory.methods.fisher import EWC
from landscope.memory.task_memory import TaskMemory
from landscope.parameters import Selection
from landscope.protocols import Penalty

__all__ = ["LikelyAnswersEWC"]


class LikelyAnswersEWC(TaskMemory):
    r"""Hold each weight by its Fisher information at the likeliest answers (Hsu et al., arXiv 1810.12488).

    .. math:: V(w) = \frac{\lambda}{2} \sum_j F_j (w_j - w_{1j})^2, \qquad
              F_j = \frac1M \sum_k \big(\partial_j \ln p(\hat y_k | x_k)\big)^2, \qquad
              \hat y_k = \arg\max_y p(y | x_k)

    Its publication has lambda in place of lambda/2. Where a network is sure of its answers, with p(y) = 1 - p, these
    gradients are of size p, so that F falls with p squared; the exact Fisher information, over all answers, falls with
    p. The penalty is added to the loss.

    Args:
        model: The model in training.
        select: Weights to hold.
        strength: lambda.

    Example:
        Both samples are answered by class 0, whose probability is 0.9.

        >>> model = torch.nn.Linear(1, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[9.0], [1.0]]).log())
        >>> memory = LikelyAnswersEWC(model, strength=1.0)
        >>> held = memory.consolidate(torch.nn.CrossEntropyLoss(), (torch.ones(2, 1), torch.tensor([0, 1])))
        >>> [round(float(F), 4) for F in 2 * held.stiffness]
        [0.01, 0.01]
    """

    def __init__(
        self, model: nn.Module, select: Selection | Iterable[Selection] | None = None, *, strength: float
    ) -> None:
        super().__init__(model, select, method=EWC("empirical"), strength=strength, implicit=False)

    def consolidate(self, criterion: Callable[..., Any] | None = None, data: Any = None, **options: Any) -> Penalty:
        """End a task of ``(inputs, labels)``; its labels are not used."""
        inputs, _ = data
        return super().consolidate(criterion, (inputs, _likeliest(self.model, inputs)), **options)


@torch.no_grad()
def _likeliest(model: nn.Module, inputs: Tensor) -> Tensor:
    """The answer of the model to each sample."""
    was_training = model.training
    model.eval()
    try:
        return torch.cat([model(block).argmax(dim=1) for block in inputs.split(4096)])
    finally:
        model.train(was_training)
