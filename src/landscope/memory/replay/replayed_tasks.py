"""What is replayed of all finished tasks: their samples, and the network that gives the old answers."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from landscope._checks import generator_of
from landscope.errors import InputError, StorageError
from landscope.memory.replay.distillation import distillation_losses, precise
from landscope.memory.replay.labelled import Labelled, labelled_samples, logits_of
from landscope.memory.replay.model_answers import ModelAnswers
from landscope.memory.replay.sources import Replay, Samples, Stored
from landscope.memory.report.evaluations import evaluated_copy
from landscope.penalties.warnings import warn
from landscope.seeded import seeded
from landscope.wording import first_lines

__all__ = ["ReplayedTasks"]

_AT_ONCE = 64
_SAME = 0.05
"""Share by which the loss of a task may differ from the cross-entropy that is replayed."""
_LABELS = "Pass the labels that the model is trained with. A model may gain outputs and keeps the others."
_REPLAYED = (
    "Earlier tasks are replayed, and need their outputs: keep these, and add those of new classes at the end; or make "
    "the memory without replay."
)


@dataclasses.dataclass(frozen=True)
class ReplayedTasks:
    """The samples of finished tasks; a task more gives another object.

    Args:
        replay: The options.
        generator: Source of all draws.
        n_tasks: Number of tasks.
        stored: What is stored of their samples.
        held_out: Real samples of every task that are not learnt again, on which a budget measures; None without some
            of each.
        counts: How many of them each task has.
        classes: Classes that were learnt; None where every label is a token.
        before: The network at the end of the last task, for its answers.
    """

    replay: Replay
    generator: torch.Generator
    n_tasks: int = 0
    stored: Stored | None = None
    held_out: Labelled | None = None
    counts: tuple[int, ...] = ()
    classes: tuple[int, ...] | None = ()
    before: nn.Module | None = None

    @classmethod
    def of(cls, replay: Replay) -> ReplayedTasks:
        """No task yet."""
        return cls(replay, generator_of(replay.seed))

    def with_task(self, model: nn.Module, data: Any, loss: float, n_held_out: int = 0) -> ReplayedTasks:
        """These tasks and one that ends now.

        Args:
            model: The model at its end.
            data: Training data of the task.
            loss: Its mean loss, with which the cross-entropy is compared.
            n_held_out: Number of real samples to hold out for a budget; fewer where the data have no more.

        Raises:
            InputError: If the data are no labelled samples, or do not fit the model or the earlier tasks.

        Warns:
            UserWarning: If the loss of the task is not the cross-entropy of its labels.
        """
        samples, before = labelled_samples(data), evaluated_copy(model).requires_grad_(False)
        _warn_of_another_loss(_mean_loss(before, samples, self.replay.answers), loss)
        generator = torch.Generator()
        generator.set_state(self.generator.get_state())
        held_out, rest = self._split(samples, n_held_out, generator)
        stored = self.replay.source.added(
            self.stored, self.replay.source.stored(rest, before, generator, self.replay.answers)
        )
        return ReplayedTasks(
            self.replay,
            generator,
            self.n_tasks + 1,
            stored,
            held_out,
            (*self.counts, len(samples.labels) - len(rest.labels)),
            None if samples.has_tokens else tuple(sorted({*(self.classes or ()), *samples.labels.tolist()})),
            before if self.replay.distillation else None,
        )

    def check(self, model: nn.Module, data: Any) -> None:
        """Raise if such samples cannot be replayed, with those of the earlier tasks."""
        samples, whole, source = labelled_samples(data), evaluated_copy(model), self.replay.source.tried()
        _mean_loss(whole, samples, self.replay.answers)
        source.added(self.stored, source.stored(samples, whole, generator_of(0), self.replay.answers))

    def _split(
        self, samples: Labelled, n_held_out: int, generator: torch.Generator
    ) -> tuple[Labelled | None, Labelled]:
        """Samples to measure on, and the others; at least as many are replayed."""
        count = min(n_held_out, len(samples.labels) // 2)
        if not count or not isinstance(self.replay.source, Samples):
            return None, samples
        order = torch.randperm(len(samples.labels), generator=generator)
        latest, rest = samples.at(order[:count]), samples.at(order[count:])
        if self.n_tasks == 0:
            return latest, rest
        return None if self.held_out is None else self.held_out.joined(latest), rest

    def without_held_out(self) -> ReplayedTasks:
        """The same without the samples that are not learnt again, where the model no longer fits them."""
        return dataclasses.replace(self, held_out=None, counts=())

    @property
    def can_measure(self) -> bool:
        """Whether a budget can measure on real samples of these tasks."""
        return self.held_out is not None

    def measured(self, model: nn.Module) -> list[float]:
        """The mean loss of each task on its samples that are not learnt again."""
        assert self.held_out is not None  # noqa: S101 - asked for only with them
        ends = list(itertools.accumulate(self.counts))
        parts = [slice(end - count, end) for end, count in zip(ends, self.counts, strict=True)]
        return [_mean_loss(model, self.held_out.at(part), self.replay.answers) for part in parts]

    @property
    def n_stored(self) -> int:
        """Number of values stored: samples or Gaussians, and the network that gives the answers."""
        tensors = () if self.before is None else self.before.state_dict().values()
        network = sum(tensor.numel() for tensor in tensors if isinstance(tensor, Tensor))
        samples = sum(part.n_stored for part in (self.stored, self.held_out) if part is not None)
        return samples + network

    def loss(self, model: nn.Module) -> Float[Tensor, ""]:
        """The loss R of samples that are drawn now, with a gradient.

        Raises:
            InputError: If the model now has fewer outputs than before.
        """
        assert self.stored is not None  # noqa: S101 - asked for only after a task
        samples = self.stored.draw(self.replay.batch_size, self.generator)
        with seeded(int(torch.randint(2**31, (), generator=self.generator))):  # of dropout
            logits, labels = _logits_that_answer(model, samples, self.replay.answers, _REPLAYED)
        losses = F.cross_entropy(precise(logits), labels, reduction="none")
        if self.before is not None:
            losses = losses + self.replay.distillation * self._distilled(samples, logits)
        return losses.mean()

    def _distilled(self, samples: Labelled, logits: Tensor) -> Tensor:
        assert self.before is not None  # noqa: S101 - asked for only with it
        with torch.no_grad():
            before, _ = logits_of(self.before.to(logits.device), samples, self.replay.answers)
        if logits.shape[1] < before.shape[1]:
            raise InputError(
                expected=f"a model with the {before.shape[1]} outputs that it had, or more", got=f"{logits.shape[1]}",
                    hint=_REPLAYED,
            )  # fmt: skip
        answering = None
        if self.classes is not None:  # an untrained output has nothing to keep
            answering = torch.zeros(before.shape[1], dtype=torch.bool, device=before.device)
            answering[list(self.classes)] = True
        return distillation_losses(logits, before, answering, self.replay.temperature)

    def state(self) -> dict[str, Any]:
        """Plain values and tensors, from which the same draws follow."""
        return {
            "n_tasks": self.n_tasks,
            "stored": None if self.stored is None else _fields(self.stored),
            "held_out": None if self.held_out is None else _fields(self.held_out),
            "counts": list(self.counts),
            "classes": None if self.classes is None else list(self.classes),
            "before": None if self.before is None else _copied(self.before.state_dict()),
            "generator": self.generator.get_state(),
        }

    def loaded(self, state: Mapping[str, Any], model: nn.Module) -> ReplayedTasks:
        """The tasks of a stored state.

        Raises:
            StorageError: If the old network is of another model, or the state is damaged.
        """
        try:
            return self._loaded(state, model)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise StorageError(
                expected="the samples of finished tasks", got=f"a damaged state ({type(error).__name__}: {error})",
                hint="Pass what memory.state_dict() returned.",
            ) from error  # fmt: skip

    def _loaded(self, state: Mapping[str, Any], model: nn.Module) -> ReplayedTasks:
        before = None if state["before"] is None else evaluated_copy(model).requires_grad_(False)
        try:
            if before is not None:
                before.load_state_dict(state["before"])
        except RuntimeError as error:
            raise StorageError(
                expected="a state of this model", got=first_lines(error, 2),
                hint="Load it into the model that it was made with; outputs are added afterwards.",
            ) from error  # fmt: skip
        generator = torch.Generator()
        generator.set_state(state["generator"].cpu())
        return ReplayedTasks(
            self.replay,
            generator,
            state["n_tasks"],
            None if state["stored"] is None else _of_fields(self.replay.source.kind, state["stored"]),
            None if state["held_out"] is None else _of_fields(Labelled, state["held_out"]),
            tuple(map(int, state["counts"])),
            None if state["classes"] is None else tuple(state["classes"]),
            before,
        )


def _logits_that_answer(
    model: nn.Module, samples: Labelled, answers: ModelAnswers, hint: str = _LABELS
) -> tuple[Tensor, Tensor]:
    logits, labels = logits_of(model, samples, answers)
    if (highest := int(labels.max()) if len(labels) else -1) >= logits.shape[1]:
        raise InputError(
            expected=f"labels below the number of outputs, {logits.shape[1]}", got=f"{highest}",
            hint=hint,
        )  # fmt: skip
    return logits, labels


@torch.no_grad()
def _mean_loss(model: nn.Module, samples: Labelled, answers: ModelAnswers) -> float:
    """The mean cross-entropy of a model in eval mode."""
    total, count = 0.0, 0
    for start in range(0, len(samples.labels), _AT_ONCE):
        logits, labels = _logits_that_answer(model, samples.at(slice(start, start + _AT_ONCE)), answers)
        total += float(F.cross_entropy(precise(logits), labels, reduction="sum"))
        count += len(labels)
    return total / max(count, 1)


def _warn_of_another_loss(ours: float, theirs: float) -> None:
    if abs(ours - theirs) > _SAME * max(ours, theirs) + 1e-3:
        warn(
            f"replay learns the cross-entropy of the labels over all outputs again, {ours:.3g} now, and the loss of "
            f"the task is {theirs:.3g}: if it goes over some outputs alone, or over other labels, replay learns "
            "something else"
        )


def _fields(samples: Any) -> dict[str, Any]:
    found = {field.name: getattr(samples, field.name) for field in dataclasses.fields(samples)}
    return {name: _fields(value) if isinstance(value, Labelled) else value for name, value in found.items()}


def _of_fields(kind: type[Any], fields: Mapping[str, Any]) -> Any:
    """Stored samples, also where ``torch.load`` put them on another device."""
    found = {
        name: _of_fields(Labelled, value) if name == "samples" else _on_cpu(value) for name, value in fields.items()
    }
    return kind(**found)


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _on_cpu(part) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_on_cpu(part) for part in value)
    return value.cpu() if isinstance(value, Tensor) else value


def _copied(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.clone() if isinstance(value, Tensor) else value for name, value in state.items()}
