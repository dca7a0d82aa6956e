"""A plain training loop for tensors in memory (paper, Eq. 2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from landscope._checks import check_count
from landscope.errors import NonFiniteError
from landscope.sampling import MinibatchOrder

__all__ = ["Epoch", "evaluate", "train"]

_SAMPLES_PER_CALL = 4096


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One epoch of training.

    Args:
        number: Number of the epoch, from 1.
        step: Optimisation steps taken so far.
        losses: Minibatch loss of each step of the epoch, before the step.
    """

    number: int
    step: int
    losses: Float[Tensor, " batches"]


def train(
    model: nn.Module,
    criterion: Callable[[Tensor, Tensor], Tensor],
    data: tuple[Tensor, Tensor],
    optimizer: torch.optim.Optimizer,
    order: MinibatchOrder,
    *,
    first_epoch: int = 1,
    before_step: Callable[[Tensor], None] | None = None,
) -> Iterator[Epoch]:
    r"""Train epoch after epoch: :math:`w \leftarrow w - \alpha \nabla L^{\mu(t)}(w)` and the like.

    An endless generator: the caller stops it. The minibatches depend on ``order`` and the number of the epoch alone, so
    a start at ``first_epoch`` with the model and optimiser of that moment continues exactly.

    Args:
        model: Model, trained in place.
        criterion: ``criterion(outputs, targets)``: the losses of a minibatch, or their mean.
        data: ``(inputs, targets)``.
        optimizer: Optimiser of the parameters of the model.
        order: Order of the minibatches.
        first_epoch: Number of the first epoch, from 1.
        before_step: Called with each minibatch loss after the backward pass, before the step of the optimiser.

    Yields:
        Each epoch when it ends.

    Raises:
        NonFiniteError: If a minibatch loss becomes NaN or infinite, at the end of that epoch.

    Example:
        >>> import itertools, torch
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> data = (torch.ones(4, 1), torch.ones(4, 1))
        >>> order = MinibatchOrder(n_samples=4, batch_size=2)
        >>> epochs = train(model, torch.nn.MSELoss(), data, optimizer, order)
        >>> [epoch.step for epoch in itertools.islice(epochs, 3)]
        [2, 4, 6]
    """
    inputs, targets = data
    number = check_count("first_epoch", first_epoch, minimum=1)
    while True:
        model.train()
        losses = torch.empty(order.batches_per_epoch, dtype=torch.float64)
        for row, batch in enumerate(order.epoch(number - 1).to(inputs.device)):
            # index_select copies rows three times as fast as inputs[batch].
            loss = criterion(model(inputs.index_select(0, batch)), targets.index_select(0, batch)).mean()
            optimizer.zero_grad()
            loss.backward()
            losses[row] = loss.detach()
            if before_step is not None:
                before_step(loss)
            optimizer.step()
        if not bool(torch.isfinite(losses).all()):
            bad = int((~torch.isfinite(losses)).nonzero()[0])
            raise NonFiniteError(
                expected="finite minibatch losses",
                got=f"{float(losses[bad])} at step {(number - 1) * len(losses) + bad + 1}",
                hint="Lower the learning rate.",
            )
        yield Epoch(number, number * order.batches_per_epoch, losses)
        number += 1


@torch.no_grad()
def evaluate(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    criterion: Callable[[Tensor, Tensor], Tensor] = torch.nn.functional.cross_entropy,
) -> tuple[float, float]:
    """Mean loss and share of wrong answers of a classifier, in eval mode; the mode is restored.

    Args:
        model: Classifier with one output for each class; the largest is its answer.
        data: ``(inputs, labels)``.
        criterion: ``criterion(outputs, labels)``: the losses of some samples, or their mean.

    Returns:
        Loss and error rate.

    Example:
        >>> import torch
        >>> loss, error = evaluate(torch.nn.Identity(), (torch.tensor([[9.0, 0.0], [9.0, 0.0]]), torch.tensor([0, 1])))
        >>> error
        0.5
    """
    was_training = model.training
    model.eval()
    try:
        loss, wrong = 0.0, 0
        for inputs, labels in zip(*(part.split(_SAMPLES_PER_CALL) for part in data), strict=True):
            logits = model(inputs)
            loss += float(criterion(logits.double(), labels).mean()) * len(labels)
            wrong += int((logits.argmax(dim=1) != labels).sum())
    finally:
        model.train(was_training)
    return loss / len(data[1]), wrong / len(data[1])
