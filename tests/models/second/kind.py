"""A kind of model or loss, trained for a few steps, and its loss by torch's own code alone."""

import copy
import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

import landscope as ls
from landscope.protocols import Penalty

STEPS = 30


def _by_sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)


def one_step(kind: "Kind", model: nn.Module, optimizer: torch.optim.Optimizer, batch: Any) -> None:
    """A step of a plain loop."""
    optimizer.zero_grad()
    kind.train(model, batch).backward()
    optimizer.step()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Kind:
    """One row of the table.

    ``losses(model, batch, number)`` gives the loss of each sample of a batch with plain code, ``risk(model)`` is what a
    user writes, and ``train(model, batch)`` is the loss of a training step. ``noise`` is the argument of
    ``risk.minibatches``; the minibatches are then the batches.
    """

    name: str
    model: Callable[[], nn.Module]
    batches: list[Any]
    losses: Callable[[nn.Module, Any, int], Tensor]
    risk: Callable[[nn.Module], ls.EmpiricalRisk]
    train: Callable[[nn.Module, Any], Tensor]
    noise: int | None
    method: str | Any = "ldc"
    consolidate: Callable[[ls.TaskMemory, "Trained"], Penalty] = lambda memory, trained: memory.consolidate_at(
        trained.risk
    )
    optimizer: Callable[[nn.Module], torch.optim.Optimizer] = _by_sgd
    hooked: Callable[[torch.optim.Optimizer], torch.optim.Optimizer] = lambda optimizer: optimizer
    step: Callable[["Kind", nn.Module, torch.optim.Optimizer, Any], None] = one_step
    plain: Callable[[nn.Module], nn.Module] = lambda model: model
    centre: Callable[[nn.Module], nn.Module] = lambda model: model
    ratio: float = math.e
    rtol: float = 1e-5
    steps: int = STEPS


@dataclasses.dataclass
class Trained:
    """A model after its training: what landscope recorded, and what the test kept itself."""

    kind: Kind
    model: nn.Module
    memory: ls.TaskMemory
    path: ls.Trajectory
    rows: Tensor
    risk: ls.EmpiricalRisk

    def __post_init__(self) -> None:
        self.truth = Truth(self.kind, self.kind.plain(self.model))
        self.directions = ls.principal_modes(self.path, 2).directions.to(self.risk.w0)


class Truth:
    """The loss in float64 by a loop over batches, with the weights written into a copy of the model."""

    def __init__(self, kind: Kind, model: nn.Module) -> None:
        self.kind, self.model = kind, copy.deepcopy(model).double().eval()
        self.batches = tree_map(lambda leaf: leaf.double() if _is_float(leaf) else leaf, kind.batches)
        self.w0 = flat(model).double()

    def losses(self, w: Tensor, number: int) -> Tensor:
        """The loss of each sample of a batch; its graph leads to the parameters of the model."""
        nn.utils.vector_to_parameters(w.double(), self.model.parameters())
        return self.kind.losses(self.model, copy.deepcopy(self.batches[number]), number)

    def loss(self, w: Tensor) -> float:
        found = [self.losses(w, number).detach() for number in range(len(self.batches))]
        return float(torch.cat(found).mean())

    def sample_gradients(self, w: Tensor) -> list[Tensor]:
        """The gradients of the losses of the samples of each batch, ``[B, N]``."""
        found = []
        for number in range(len(self.batches)):
            losses = self.losses(w, number)
            found.append(torch.stack([self._gradient(loss) for loss in losses]))
        return found

    def batch_gradients(self, w: Tensor) -> Tensor:
        return torch.stack([self._gradient(self.losses(w, number).mean()) for number in range(len(self.batches))])

    def gradient(self, w: Tensor) -> Tensor:
        sizes = torch.tensor([len(self.losses(w, number)) for number in range(len(self.batches))])
        return (sizes[:, None] * self.batch_gradients(w)).sum(0) / sizes.sum()

    def _gradient(self, loss: Tensor) -> Tensor:
        parts = torch.autograd.grad(loss, list(self.model.parameters()), retain_graph=True, allow_unused=True)
        pairs = zip(parts, self.model.parameters(), strict=True)
        return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


def _is_float(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


def flat(model: nn.Module) -> Tensor:
    """All weights as one vector."""
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def train(kind: Kind) -> Trained:
    """Train a few steps; landscope records, and so does the loop."""
    torch.manual_seed(1)
    model, rows = kind.model(), []
    optimizer = kind.optimizer(model)
    hooked = kind.hooked(optimizer)
    memory = ls.TaskMemory(model, method=kind.method, strength=1.0, n_modes=3, ratio=kind.ratio)
    with ls.TrajectoryRecorder(model, hooked) as recorder, memory.training(hooked):
        for _, batch in zip(range(kind.steps), itertools.cycle(kind.batches), strict=False):
            kind.step(kind, model, optimizer, batch)
            rows.append(flat(model))
    centre = kind.centre(model)
    return Trained(kind, centre, memory, recorder.trajectory(), torch.stack(rows), kind.risk(centre))
