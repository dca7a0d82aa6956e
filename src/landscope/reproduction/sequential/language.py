"""A language model that learns one text and then another, with and without a method that keeps the first."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from landscope._checks import generator_of
from landscope.reproduction.sequential.continual_result import ContinualResult
from landscope.reproduction.sequential.first_task import FirstTask
from landscope.reproduction.sequential.low_rank import add_low_rank
from landscope.reproduction.sequential.methods import COMPARED, HeldPenalty, MethodSettings
from landscope.reproduction.sequential.preparation import unchanged
from landscope.reproduction.sequential.task_data import Criterion, Labelled, Task
from landscope.reproduction.sequential.trainer import train_sequentially
from landscope.reproduction.sequential.training import TaskTraining
from landscope.risk.language_model import language_model_losses

__all__ = ["FineTuning", "FineTuningSettings", "TextTraining"]

_INTERPOLATIONS = ("interpolation", "midpoint")


@dataclasses.dataclass(frozen=True)
class FineTuningSettings:
    """How a language model learns two texts.

    Args:
        steps: Steps on the first text, and on the second.
        batch_size: Sequences of a minibatch.
        learning_rate: Learning rate of AdamW.
        low_rank: Rank of the changes that learn the second text, all else frozen; None to train everything.
        layers: Glob over the layers that change so.
        n_modes: Directions constrained.
        window: Last steps of the first text in which its modes are found.
        ratio: Loss at the edges of the valley of the first text over that at its bottom.
        max_samples: Sequences on which the loss of the first text is measured, evenly spread over it.
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


@dataclasses.dataclass(frozen=True)
class TextTraining(TaskTraining):
    """AdamW on sequences that are drawn with replacement, for ``max_steps``.

    Args:
        how: Learning rate, batch size and window.
        generator: Source of the minibatches.
    """

    criterion: Criterion = language_model_losses
    how: FineTuningSettings = dataclasses.field(default_factory=FineTuningSettings)
    generator: torch.Generator = dataclasses.field(default_factory=torch.Generator)

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """AdamW on the free parameters."""
        free = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return torch.optim.AdamW(free, lr=self.how.learning_rate, weight_decay=0.0)

    def train(
        self,
        model: nn.Module,
        data: Labelled,
        optimizer: torch.optim.Optimizer,
        number: int,  # noqa: ARG002 - all texts are learnt alike
        criterion: Criterion,
    ) -> bool:
        """Learn a text."""
        rows, _ = data
        model.train()
        for _ in range(self.max_steps or 0):
            batch = rows[torch.randint(len(rows), (self.how.batch_size,), generator=self.generator)]
            total, counts = criterion(model(batch), batch)
            optimizer.zero_grad()
            (total.sum() / counts.sum()).backward()
            optimizer.step()
        return False

    def window(self, data: Labelled) -> int:  # noqa: ARG002 - the same for all texts
        """Steps of the window."""
        return self.how.window

    @torch.no_grad()
    def error(self, model: nn.Module, task: Task) -> float:
        """Mean loss of a token of the test rows, in nats."""
        model.eval()
        losses = [self.criterion(model(rows), rows) for rows in task.test[0].split(256)]
        return sum(float(total.sum()) for total, _ in losses) / sum(int(counts.sum()) for _, counts in losses)

    def measured_on(self, data: Labelled) -> list[dict[str, Tensor]]:
        """Some sequences from all of the text, as one batch."""
        rows = data[0]
        rows = rows[torch.linspace(0, len(rows) - 1, min(len(rows), self.how.max_samples)).long()]
        return [{"input_ids": rows, "labels": rows}]

    def settings(self) -> dict[str, Any]:
        """The numbers that describe it, for the provenance of results."""
        return {"seed": self.seed, **dataclasses.asdict(self.how)}


@dataclasses.dataclass(frozen=True)
class _Repeated(TextTraining):
    """Takes the weights that the same training ended with before, in place of training again."""

    end: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)

    def train(
        self,
        model: nn.Module,
        data: Labelled,  # noqa: ARG002
        optimizer: torch.optim.Optimizer,  # noqa: ARG002
        number: int,  # noqa: ARG002
        criterion: Criterion,  # noqa: ARG002
    ) -> bool:
        """Load the weights."""
        model.load_state_dict(self.end)
        return False


class FineTuning:
    """A language model that has learnt a first text, and learns the second from there, as many times as asked.

    Args:
        model: A causal language model of Hugging Face: called with ``input_ids``, it returns ``logits``.
        texts: Two texts, each with training rows and test rows.
        settings: How the texts are learnt; the defaults of the class if not given.
        seed: Seed of the minibatches.
    """

    def __init__(
        self,
        model: nn.Module,
        texts: Sequence[tuple[Int[Tensor, "M t"], Int[Tensor, "m t"]]],
        settings: FineTuningSettings | None = None,
        seed: int = 0,
    ) -> None:
        self.settings, self.model, self.seed = settings or FineTuningSettings(), _Logits(model), seed
        self.tasks = [Task(f"text {n + 1}", (train, train), (test, test)) for n, (train, test) in enumerate(texts)]
        torch.manual_seed(seed)  # of the low-rank changes
        self._generator, how = generator_of(seed), self.settings
        if how.low_rank is not None:  # the whole model learns the first text, then only the changes learn on in it
            training = self._training(how.steps[0])
            train_sequentially(self.model, self.tasks, MethodSettings("none"), training, n_tasks=1)
            add_low_rank(self.model, how.layers, how.low_rank)
        self.first = FirstTask(
            self.model, self.tasks, self._training(how.steps[0] if how.low_rank is None else how.window), how.n_modes,
            ratio=how.ratio, seed=seed,
        )  # fmt: skip
        self._drawn = self._generator.get_state()
        self._freely_learnt: tuple[dict[str, Tensor], Tensor] | None = None

    def _training(self, steps: int) -> TextTraining:
        return TextTraining(max_steps=steps, seed=self.seed, how=self.settings, generator=self._generator)

    def learn_second(self, method: MethodSettings) -> ContinualResult:
        """Learn the second text.

        Args:
            method: A method with its strength, or ``"none"``; its modes are those of the settings. All interpolations
                begin with the same free training, which is done once.

        Returns:
            Mean losses of a token of both texts after each, in nats, stored numbers and times.
        """
        compared = COMPARED.get(method.method)
        count = 0 if compared is None else compared.method.n_directions(self.first.snapshot, self.settings.n_modes)
        if method.method not in _INTERPOLATIONS:
            self._generator.set_state(self._drawn)
            return self.first.learn_second(method, count, self._training(self.settings.steps[1]))
        end, seconds = self._free_end()
        result = self.first.learn_second(method, count, _Repeated(seed=self.seed, how=self.settings, end=end))
        return dataclasses.replace(result, seconds=result.seconds + seconds)

    def _free_end(self) -> tuple[dict[str, Tensor], Tensor]:
        """The weights after the second text without a method, and the seconds to learn it."""
        if self._freely_learnt is None:
            self._generator.set_state(self._drawn)
            kept = _KeepsEnd(self.model)
            training = self._training(self.settings.steps[1])
            first = self.first.result.rows()
            with unchanged(self.model):
                free = train_sequentially(
                    self.model, self.tasks, MethodSettings("none"), training, memory=kept, earlier=first
                )
            self._freely_learnt = kept.end, torch.cat([torch.zeros(1).double(), free.seconds[1:]])
        return self._freely_learnt


class _KeepsEnd(HeldPenalty):
    """Holds nothing, and keeps the weights after a training."""

    end: dict[str, Tensor]

    @contextlib.contextmanager
    def training(self, optimizer: torch.optim.Optimizer) -> Generator[None]:
        """Copy the weights at the end."""
        with super().training(optimizer):
            yield
        self.end = copy.deepcopy(self.model.state_dict())


class _Logits(nn.Module):
    """A language model that returns its logits and nothing else, as the empirical Fisher information needs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Any) -> Any:
        """``[b, t] -> [b, t, tokens]``; annotated loosely because it is also traced."""
        return self.model(input_ids=input_ids).logits
