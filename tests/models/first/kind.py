"""One kind of model with what a user writes for it, and the same quantities by loops of plain torch."""

import copy
import dataclasses
import fnmatch
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import landscope as ls
from landscope.memory import Method

SIZES = (5, 4, 3)
M = sum(SIZES)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A model, and what to write for it.

    Args:
        make: The model, in float64 and eval mode.
        take: The batch of some samples, by their indices from 0 to M.
        plain: ``plain(model, batch) -> (sum, count)``: the training's own loss is sum/count.
        criterion: What to write for a batch of pairs or of a mapping.
        losses: What to write for batches of another structure, in place of a criterion.
        options: Further arguments of ``from_closure`` or of the risk.
        select: Names of the selected weights.
        method: A method of the memory.
        batch_size: Number of samples in a minibatch; None for the batches as they are.
        ratio: Loss at the edges over the loss at w0; a language model needs a small one.
        rtol: Relative tolerance, of rounding: the models are in float64, but some compute a part in float32.
        set_mode: Sets the mode in which the loss is measured.
    """

    make: Callable[[], nn.Module]
    take: Callable[[Tensor], Any]
    plain: Callable[[nn.Module, Any], tuple[Tensor, Any]]
    criterion: Callable[..., Any] | None = None
    losses: Callable[..., Any] | None = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    select: str | tuple[str, ...] | None = None
    method: str | Method = "ewc"
    batch_size: int | None = 3
    ratio: float = 1.1
    rtol: float = 1e-8
    set_mode: Callable[[nn.Module], Any] = nn.Module.eval

    def batches(self) -> list[Any]:
        """The training data, in batches of unequal size."""
        return [self.take(rows) for rows in torch.arange(M).split(list(SIZES))]

    def risk(self, model: nn.Module, space: ls.ParameterSpace) -> ls.EmpiricalRisk:
        """What the documentation says to write."""
        if self.criterion is not None:
            return ls.EmpiricalRisk(model, self.criterion, self.batches(), space=space, **self.options)
        return ls.EmpiricalRisk.from_closure(model, self.losses, self.batches(), space=space, **self.options)

    def parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """The selected weights, in the order of the model."""
        patterns = ("*",) if self.select is None else (self.select,) if isinstance(self.select, str) else self.select
        return [
            parameter for name, parameter in model.named_parameters()
            if parameter.requires_grad and any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
        ]  # fmt: skip

    def by_loop(self, model: nn.Module, w: Tensor, batches: list[Any]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Sums and counts ``[batches]`` at w, and the gradients ``[batches, N]`` of the sums."""
        model = copy.deepcopy(model)
        self.set_mode(model)
        parameters = self.parameters(model)
        nn.utils.vector_to_parameters(w, parameters)
        sums, counts, gradients = [], [], []
        for batch in batches:
            total, count = self.plain(model, batch)
            found = torch.autograd.grad(total, parameters)
            sums.append(total.detach())
            counts.append(torch.as_tensor(count).double())
            gradients.append(torch.cat([part.flatten() for part in found]))
        return torch.stack(sums), torch.stack(counts), torch.stack(gradients)

    def loss_by_loop(self, model: nn.Module, w: Tensor) -> Tensor:
        """The loss of all batches at w."""
        sums, counts, _ = self.by_loop(model, w, self.batches())
        return sums.sum() / counts.sum()


def select_rows(batch: Any, rows: Tensor) -> Any:
    """Some rows of every tensor of a batch."""
    if isinstance(batch, Tensor):
        return batch[rows]
    if isinstance(batch, dict):
        return {name: select_rows(part, rows) for name, part in batch.items()}
    return tuple(select_rows(part, rows) for part in batch)


def mean_of(losses: Callable[[nn.Module, Any], Tensor]) -> Callable[[nn.Module, Any], tuple[Tensor, int]]:
    """The sum and the number of the losses of samples."""

    def plain(model, batch):
        found = losses(model, batch)
        return found.sum(), len(found)

    return plain
