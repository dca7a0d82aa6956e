"""A language model that learns one text and then another, with and without something that keeps the first."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from landscope.continual.low_rank import add_low_rank
from landscope.criteria import language_model_losses
from landscope.results import Result, stamp
from landscope.tasks import METHODS, TaskMemory

__all__ = ["FineTuned", "Tuning", "fine_tune"]


@dataclasses.dataclass(frozen=True)
class Tuning:
    """How a language model learns two texts.

    Args:
        steps: Of the first text, and of the second.
        batch_size: Sequences a minibatch.
        learning_rate: Of AdamW.
        low_rank: Rank of the changes that learn the second text, all else frozen; None to train everything.
        layers: Glob over the layers that change so.
        n_modes: Directions that are held.
        window: Latest steps that are looked back on.
        ratio: Of the loss at the edges of the first text's valley to that at its bottom.
        max_samples: Sequences that the loss of the first text is measured on.
    """

    steps: tuple[int, int] = (1000, 500)
    batch_size: int = 32
    learning_rate: float = 1e-3
    low_rank: int | None = None
    layers: str = "*.c_fc"
    n_modes: int = 50
    window: int = 300
    ratio: float = 1.1
    max_samples: int = 200


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FineTuned(Result, kind="fine_tuned", dims={"log_loss": ("stage", "text")}):
    """A model before and after its second text.

    Args:
        method: What kept the first.
        strength: lambda.
        log_loss: Mean loss of a byte on the test part of both texts, in nats, after each was learnt.
        n_weights: Weights that learn the second text.
        n_stored: Numbers that are kept of the first.
        n_recorded: Numbers of the window that was recorded.
        seconds: To learn the second text.
        keeping_seconds: To find what keeps the first.
    """

    method: str
    strength: float
    log_loss: Float[Tensor, "stages texts"]
    n_weights: int
    n_stored: int
    n_recorded: int
    seconds: float
    keeping_seconds: float

    @property
    def perplexity(self) -> Float[Tensor, "stages texts"]:
        """Of a byte: exp of the mean loss."""
        return self.log_loss.exp()


def fine_tune(
    model: nn.Module,
    texts: Sequence[tuple[Int[Tensor, "M t"], Int[Tensor, "m t"]]],
    method: str,
    *,
    strength: float = math.nan,
    tuning: Tuning | None = None,
    seed: int = 0,
) -> FineTuned:
    """Learn one text and then another.

    Args:
        model: A causal language model of Hugging Face: called with ``input_ids``, it returns ``logits``.
        texts: Two texts, each with rows to learn from and to be tested on.
        method: A key of ``landscope.tasks.METHODS``, or ``"none"``.
        strength: lambda; NaN for none.
        tuning: How; that of the class by default.
        seed: Of the minibatches.

    Returns:
        Losses, sizes and times.
    """
    how = Tuning() if tuning is None else tuning
    torch.manual_seed(seed)  # of the changes of low rank
    generator = torch.Generator().manual_seed(seed)
    losses, (first, second), model = [], texts, _Logits(model)
    if how.low_rank is not None:  # the first text is learnt by the whole model, its valley known in the changes
        _learn(model, first[0], how, how.steps[0], generator, None)
        add_low_rank(model, how.layers, how.low_rank)
    memory = None if method not in METHODS else _memory(model, method, strength, how)
    _learn(model, first[0], how, how.steps[0] if how.low_rank is None else how.window, generator, memory)
    losses.append([_loss(model, test) for _, test in texts])
    begun = time.perf_counter()
    if memory is not None:
        rows = first[0][: how.max_samples]
        memory.consolidate(language_model_losses, [{"input_ids": rows, "labels": rows}])
    keeping, begun = time.perf_counter() - begun, time.perf_counter()
    _learn(model, second[0], how, how.steps[1], generator, memory)
    seconds = time.perf_counter() - begun
    losses.append([_loss(model, test) for _, test in texts])
    n_weights = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    measured = method in METHODS and bool(METHODS[method].measures)
    return FineTuned(
        method=method, strength=strength, log_loss=torch.tensor(losses, dtype=torch.float64), n_weights=n_weights,
        n_stored=0 if memory is None else memory.n_stored, n_recorded=n_weights * how.window if measured else 0,
        seconds=seconds, keeping_seconds=keeping, provenance=stamp(seed=seed, **dataclasses.asdict(how)),
    )  # fmt: skip


class _Logits(nn.Module):
    """A language model that returns its logits and nothing else."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Any) -> Any:
        """``[b, t] -> [b, t, tokens]``; of anything, as it is also traced."""
        return self.model(input_ids=input_ids).logits


def _memory(model: nn.Module, method: str, strength: float, how: Tuning) -> TaskMemory:
    return TaskMemory(model, method=method, strength=strength, n_modes=how.n_modes, window=how.window, ratio=how.ratio)


def _learn(
    model: nn.Module, rows: Tensor, how: Tuning, steps: int, generator: torch.Generator, memory: TaskMemory | None
) -> None:
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=how.learning_rate, weight_decay=0.0
    )
    model.train()
    with memory.training(optimizer) if memory is not None else contextlib.nullcontext():
        for _ in range(steps):
            batch = rows[torch.randint(len(rows), (how.batch_size,), generator=generator)]
            total, count = language_model_losses(model(input_ids=batch), batch)
            optimizer.zero_grad()
            (total.sum() / count).backward()
            optimizer.step()


@torch.no_grad()
def _loss(model: nn.Module, rows: Tensor) -> float:
    """Mean loss of a byte."""
    model.eval()
    found = [language_model_losses(model(input_ids=part), part) for part in rows.split(256)]
    return sum(float(total.sum()) for total, _ in found) / sum(count for _, count in found)
