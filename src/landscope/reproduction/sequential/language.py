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

from landscope._checks import check_choice
from landscope.memory.snapshot import TaskSnapshot
from landscope.parameters import ParameterSpace
from landscope.penalties.proximal import ProximalSteps
from landscope.recorder import TrajectoryRecorder
from landscope.reproduction.sequential.ablations import COMPARED
from landscope.reproduction.sequential.low_rank import add_low_rank
from landscope.reproduction.sequential.penalty_cache import TimedPenalties
from landscope.results import Result, stamp
from landscope.risk.empirical import EmpiricalRisk
from landscope.risk.language_model import language_model_losses

__all__ = ["FineTuned", "FineTuning", "Tuning"]


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
    batch_size: int = 16
    learning_rate: float = 1e-3
    low_rank: int | None = None
    layers: str = "*.c_fc"
    n_modes: int = 50
    window: int = 300
    ratio: float = 1.1
    max_samples: int = 64


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


class FineTuning:
    """A language model that learnt a first text, and learns the second from there as often as it is asked to.

    Args:
        model: A causal language model of Hugging Face: called with ``input_ids``, it returns ``logits``.
        texts: Two texts, each with rows to learn from and to be tested on.
        tuning: How; that of the class by default.
        seed: Of the minibatches.
    """

    def __init__(
        self,
        model: nn.Module,
        texts: Sequence[tuple[Int[Tensor, "M t"], Int[Tensor, "m t"]]],
        tuning: Tuning | None = None,
        seed: int = 0,
    ) -> None:
        self.how, self.texts, self.model, self.seed = tuning or Tuning(), texts, _Logits(model), seed
        torch.manual_seed(seed)  # of the changes of low rank
        self._generator = torch.Generator().manual_seed(seed)
        how, (rows, _), optimizer = self.how, texts[0], self._optimizer()
        self._learn(rows, how.steps[0] - how.window, optimizer)
        if how.low_rank is not None:  # the first text is learnt by the whole model, its valley known in the changes
            self._learn(rows, how.window, optimizer)
            add_low_rank(self.model, how.layers, how.low_rank)
            optimizer = self._optimizer()
        with TrajectoryRecorder(self.model, optimizer) as recorder:
            self._learn(rows, how.window, optimizer)
        risk = self._risk(rows[: how.max_samples], recorder.space)
        self.finished = TaskSnapshot(risk, recorder.trajectory(), how.n_modes, seed=seed, ratio=how.ratio)
        """The first text."""
        self._penalties = TimedPenalties(self.finished)
        self._at_end = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self._drawn, self._losses = self._generator.get_state(), self._test()

    def second(self, method: str, strength: float = math.nan) -> FineTuned:
        """Learn the second text.

        Args:
            method: A key of ``ablations.COMPARED``, or ``"none"``.
            strength: lambda; NaN for none.

        Returns:
            Losses, sizes and times.

        Raises:
            InputError: If the method is none of these.
        """
        check_choice("method", method, ("none", *COMPARED))
        self.model.load_state_dict(self._at_end)
        self._generator.set_state(self._drawn)
        how, finished, optimizer = self.how, self.finished, self._optimizer()
        penalty, keeping = None, 0.0
        if method in COMPARED:
            count = COMPARED[method].n_directions(finished, how.n_modes)
            penalty, keeping = self._penalties(method, strength, count)
        steps = ProximalSteps(penalty, self.model, optimizer) if penalty is not None else contextlib.nullcontext()
        begun = time.perf_counter()
        with steps:
            self._learn(self.texts[1][0], how.steps[1], optimizer)
        seconds, n_weights = time.perf_counter() - begun, finished.space.dim
        measured = method in COMPARED and COMPARED[method].needs_recording
        return FineTuned(
            method=method, strength=strength, log_loss=torch.stack([self._losses, self._test()]), n_weights=n_weights,
            n_stored=0 if penalty is None else penalty.n_stored, n_recorded=n_weights * how.window if measured else 0,
            seconds=seconds, keeping_seconds=keeping, provenance=stamp(seed=self.seed, **dataclasses.asdict(how)),
        )  # fmt: skip

    def _risk(self, rows: Tensor, space: ParameterSpace) -> EmpiricalRisk:
        return EmpiricalRisk(self.model, language_model_losses, [{"input_ids": rows, "labels": rows}], space=space)

    def _optimizer(self) -> torch.optim.Optimizer:
        free = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        return torch.optim.AdamW(free, lr=self.how.learning_rate, weight_decay=0.0)

    def _learn(self, rows: Tensor, steps: int, optimizer: torch.optim.Optimizer) -> None:
        self.model.train()
        for _ in range(steps):
            batch = rows[torch.randint(len(rows), (self.how.batch_size,), generator=self._generator)]
            total, count = language_model_losses(self.model(input_ids=batch), batch)
            optimizer.zero_grad()
            (total.sum() / count).backward()
            optimizer.step()

    def _test(self) -> Tensor:
        """Mean loss of a byte of both texts."""
        return torch.tensor([_loss(self.model, rows) for _, rows in self.texts], dtype=torch.float64)


class _Logits(nn.Module):
    """A language model that returns its logits and nothing else, as the empirical Fisher information asks for."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Any) -> Any:
        """``[b, t] -> [b, t, tokens]``; of anything, as it is also traced."""
        return self.model(input_ids=input_ids).logits


@torch.no_grad()
def _loss(model: nn.Module, rows: Tensor) -> float:
    """Mean loss of a byte."""
    model.eval()
    found = [language_model_losses(model(input_ids=part), part) for part in rows.split(256)]
    return sum(float(total.sum()) for total, _ in found) / sum(count for _, count in found)
