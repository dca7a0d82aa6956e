"""Wrapped models, other optimisers, other precisions and activation checkpoints, around one small classifier."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

import landscope as ls
from models.second.kind import Kind

MADE = torch.Generator().manual_seed(7)
INPUTS = torch.randn(32, 4, generator=MADE)
LABELS = torch.randint(3, (32,), generator=MADE)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def cross_entropy_by_hand(model: nn.Module, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
    """ln of the summed exponentials less the logit of the label, one sample after another."""
    losses = []
    for x, label in zip(*batch, strict=True):
        logits = model(x[None])[0]
        losses.append(logits.exp().sum().log() - logits[label])
    return torch.stack(losses)


def classifier(name: str, *, dtype: torch.dtype = torch.float32, **options: Any) -> Kind:
    """A kind with cross-entropy as its criterion."""
    data = (INPUTS.to(dtype), LABELS)
    return Kind(**{
        "name": name, "model": network, "batches": list(zip(data[0].split(8), LABELS.split(8), strict=True)),
        "losses": cross_entropy_by_hand, "train": lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]),
        "risk": lambda model: ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), data), "noise": 8, "ratio": 1.5,
        "consolidate": lambda memory, _: memory.consolidate(nn.CrossEntropyLoss(), data), **options,
    })  # fmt: skip


# 22 and 23: wrappers around a model
COMPILED = classifier(
    "compiled", model=lambda: torch.compile(network(), backend="eager"), plain=lambda model: model._orig_mod,
    method="kfac",
)  # fmt: skip
DISTRIBUTED = classifier(
    "distributed", model=lambda: nn.parallel.DistributedDataParallel(network()), plain=lambda model: model.module,
    method=ls.memory.EWC(fisher="empirical"),
)  # fmt: skip
DATA_PARALLEL = classifier(
    "data parallel", model=lambda: nn.DataParallel(network()), plain=lambda model: model.module, method="mas"
)


# 24: averaged weights are w0, and the memory holds the model there
class Averaged(nn.Sequential):
    """A network that keeps the average of its own weights."""

    def __init__(self) -> None:
        super().__init__(*network())
        object.__setattr__(self, "average", AveragedModel(nn.Sequential(*self), multi_avg_fn=get_ema_multi_avg_fn(0.8)))


def averaging_step(kind: Kind, model: Averaged, optimizer: torch.optim.Optimizer, batch: Any) -> None:
    optimizer.zero_grad()
    kind.train(model, batch).backward()
    optimizer.step()
    model.average.update_parameters(nn.Sequential(*model))


EMA = classifier(
    "averaged", model=Averaged, step=averaging_step, centre=lambda model: model.average,
    plain=lambda average: average.module,
    consolidate=lambda memory, trained: memory.consolidate(
        nn.CrossEntropyLoss(), (INPUTS, LABELS), w0=trained.model
    ),
)  # fmt: skip


# 25: sharpness-aware minimisation in two calls, and LBFGS
class SharpnessAware:
    """Climbs by rho along the gradient, and steps with the gradient from there."""

    def __init__(self, model: nn.Module, rho: float = 0.05) -> None:
        self.parameters, self.rho = list(model.parameters()), rho
        self.base_optimizer = torch.optim.SGD(self.parameters, lr=0.1)

    @torch.no_grad()
    def climb(self) -> None:
        self.before = [parameter.clone() for parameter in self.parameters]
        norm = torch.cat([parameter.grad.flatten() for parameter in self.parameters]).norm()
        for parameter in self.parameters:
            parameter.add_(self.rho * parameter.grad / norm)

    @torch.no_grad()
    def descend(self) -> None:
        for parameter, before in zip(self.parameters, self.before, strict=True):
            parameter.copy_(before)
        self.base_optimizer.step()


def sharpness_aware_step(kind: Kind, model: nn.Module, optimizer: SharpnessAware, batch: Any) -> None:
    for take in (optimizer.climb, optimizer.descend):
        optimizer.base_optimizer.zero_grad()
        kind.train(model, batch).backward()
        take()


def closure_step(kind: Kind, model: nn.Module, optimizer: torch.optim.Optimizer, batch: Any) -> None:
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = kind.train(model, batch)
        loss.backward()
        return loss

    optimizer.step(closure)


SAM = classifier(
    "SAM", optimizer=SharpnessAware, hooked=lambda optimizer: optimizer.base_optimizer, step=sharpness_aware_step
)
LBFGS = classifier(
    "LBFGS", optimizer=lambda model: torch.optim.LBFGS(model.parameters(), lr=0.05, max_iter=3), step=closure_step,
    steps=12,
)  # fmt: skip

# 26 and 27: other precisions. The risk evaluates half precision in float32.
DOUBLE = classifier("float64", dtype=torch.float64, model=lambda: network().double(), rtol=1e-12, method="kfac")
HALF = classifier(
    "bfloat16", dtype=torch.bfloat16, model=lambda: network().bfloat16(), method=ls.memory.EWC(fisher="empirical")
)


# 28: activations that are computed again for the gradient
class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(checkpoint(lambda x: torch.tanh(self.one(x)), x, use_reentrant=False))


CHECKPOINTED = classifier("activation checkpoints", model=Checkpointed, method=ls.memory.EWC(fisher="empirical"))

WRAPPED: list[Kind] = [COMPILED, DISTRIBUTED, DATA_PARALLEL]
KINDS: list[Kind] = [*WRAPPED, EMA, SAM, LBFGS, DOUBLE, HALF, CHECKPOINTED]
