"""Replay: which samples of earlier tasks are learnt again, and how."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, get_args

import torch
from torch import nn

from landscope._checks import check_choice, check_count, check_kind, check_positive, check_seed, check_strength
from landscope.errors import InputError
from landscope.memory.replay.class_gaussians import ClassGaussians
from landscope.memory.replay.generated import generated_samples
from landscope.memory.replay.labelled import Labelled
from landscope.memory.replay.model_answers import ModelAnswers
from landscope.memory.replay.stored_samples import Per, StoredSamples

__all__ = ["Gaussians", "Generated", "Replay", "Samples", "Source", "resolve_replay"]

Stored = StoredSamples | ClassGaussians


@dataclasses.dataclass(frozen=True)
class Source(abc.ABC):
    """Where samples of earlier tasks come from. Subclasses are frozen dataclasses whose fields are its options."""

    kind: ClassVar[type[Stored]] = StoredSamples
    """What is stored."""

    @abc.abstractmethod
    def stored(self, samples: Labelled, model: nn.Module, generator: torch.Generator, answers: ModelAnswers) -> Stored:
        """What is stored of the samples of a task.

        Args:
            samples: Samples of the task.
            model: The model at its end, in eval mode.
            generator: Source of all draws.
            answers: Gives the logits of the model.
        """

    def tried(self) -> Source:
        """A source that fails where this one does, and costs little."""
        return self

    def added(self, earlier: Stored | None, latest: Any) -> Stored:
        """What is stored of all tasks."""
        return latest if earlier is None else earlier.joined(latest)


@dataclasses.dataclass(frozen=True)
class Samples(Source):
    """Real samples, the same number of each task.

    Args:
        count: Their number.
        per: ``"task"``: so many of each task; ``"class"``: of each class of each task; ``"all"``: in all, every sample
            that was seen as likely.

    Example:
        >>> Samples(20, per="class")
        Samples(count=20, per='class')
    """

    count: int = 200
    per: Per = "task"

    def __post_init__(self) -> None:
        check_count("count", self.count)
        check_choice("per", self.per, get_args(Per))

    def stored(
        self,
        samples: Labelled,
        model: nn.Module,  # noqa: ARG002 - of the protocol
        generator: torch.Generator,
        answers: ModelAnswers,  # noqa: ARG002
    ) -> StoredSamples:
        """Some of the samples, chosen at random."""
        return StoredSamples.of(samples, self.per, self.count, generator)

    def added(self, earlier: Stored | None, latest: Any) -> Stored:
        """The samples of all tasks: those of ``earlier`` ones, None at the first, and of the ``latest``."""
        found = super().added(earlier, latest)
        return found.first(self.count) if self.per == "all" and isinstance(found, StoredSamples) else found


@dataclasses.dataclass(frozen=True)
class Gaussians(Source):
    """A Gaussian of low rank for each class: its mean, leading directions with their scales, and what they leave.

    It suits inputs of low rank, such as digits, and not photographs. No sample is stored; mind that means are averages
    of people's data all the same.

    Args:
        rank: Number of directions.

    Example:
        >>> Gaussians(rank=2)
        Gaussians(rank=2)
    """

    rank: int = 10
    kind: ClassVar[type[Stored]] = ClassGaussians

    def __post_init__(self) -> None:
        check_count("rank", self.rank, minimum=0)

    def stored(
        self,
        samples: Labelled,
        model: nn.Module,  # noqa: ARG002 - of the protocol
        generator: torch.Generator,  # noqa: ARG002
        answers: ModelAnswers,  # noqa: ARG002
    ) -> ClassGaussians:
        """The Gaussians of the samples."""
        return ClassGaussians.of(samples, self.rank)


@dataclasses.dataclass(frozen=True)
class Generated(Source):
    """Sequences that a causal language model draws of itself at the end of each task (Sun et al., ICLR 2020).

    Nothing real is stored but the first tokens of samples, with which the sequences begin.

    Args:
        count: Number of sequences of each task.
        length: Tokens of each, at most as many as the samples of the task have.
        prompt: Number of first tokens that are taken from a sample.
        temperature: Temperature of the draws; below 1 the sequences are the more likely ones.

    Example:
        >>> Generated(length=32)
        Generated(count=256, length=32, prompt=1, temperature=1.0)
    """

    count: int = 256
    length: int = 64
    prompt: int = 1
    temperature: float = 1.0

    def __post_init__(self) -> None:
        for name in ("count", "length", "prompt"):
            check_count(name, getattr(self, name))
        check_positive("temperature", self.temperature)

    def tried(self) -> Generated:
        """One token of one sequence."""
        return dataclasses.replace(self, count=1, length=self.prompt + 1)

    def stored(
        self, samples: Labelled, model: nn.Module, generator: torch.Generator, answers: ModelAnswers
    ) -> StoredSamples:
        """The sequences."""
        drawn = generated_samples(model, samples, generator=generator, answers=answers, **dataclasses.asdict(self))
        return StoredSamples.of(drawn, "task", self.count, generator)


@dataclasses.dataclass(frozen=True)
class Replay:
    r"""How samples of earlier tasks are learnt again: ``TaskMemory(..., replay=Replay(64))``, in short ``replay=64``.

    .. math:: L = \frac{L_{new} + K R}{K + 1}, \qquad R = \left\langle -\ln p_y(z)
              + \alpha T^2 \mathrm{KL}\big(p(z_0 / T) \,\|\, p(z / T)\big) \right\rangle

    K is the number of earlier tasks, z the outputs of the network, and z_0 those that it gave at the end of the last
    task (Hinton et al. 2015; Li & Hoiem 2016; the weights are those of van de Ven & Tolias 2018), for classes that were
    learnt. R is the mean over samples that are drawn anew at every step, or over their tokens. Before each step of the
    optimiser the gradient of its weights, which is that of L_new, becomes that of L: after a clipping of gradients, and
    once for all minibatches that are accumulated. The model is called in the mode that it has, so with
    ``batch_norm="updated"`` batch normalisation takes statistics of these samples too.

    Args:
        batch_size: Number of samples that are learnt again in each step.
        source: :class:`Samples`, real ones; :class:`Gaussians` of classes; or :class:`Generated` by a language model.
        temperature: Temperature T of the distillation.
        distillation: Factor alpha of the distillation. It stores a copy of the network; at 0 the samples are only
            learnt again.
        seed: Seed of the choice and of all draws. The random state of torch is not used.
        outputs: ``outputs(model, inputs)`` gives the logits, one row a sample or one a token, of the model that it is
            given. By default the model is called with the inputs, a mapping by keywords, and may return a tensor, an
            object or a mapping with ``logits``, or something with one tensor alone. It is not part of a state.

    Raises:
        InputError: If an argument is out of its range.

    Example:
        >>> Replay(64, Generated(count=100), distillation=0.0).batch_size
        64
        >>> replay = Replay(64, outputs=lambda model, inputs: model(pixels=inputs)["scores"])
    """

    batch_size: int = 64
    source: Source = Samples()
    temperature: float = 2.0
    distillation: float = 1.0
    seed: int = 0
    outputs: Callable[[nn.Module, Any], Any] | None = None

    def __post_init__(self) -> None:
        check_count("batch_size", self.batch_size)
        check_kind("the source", self.source, Source, hint="Pass Samples(), Gaussians() or Generated().")
        check_positive("temperature", self.temperature)
        check_strength("distillation", self.distillation)
        check_seed(self.seed)
        if self.outputs is not None and not callable(self.outputs):
            raise InputError(
                expected="outputs as a function of a model and inputs", got=type(self.outputs).__name__,
                hint='For example outputs=lambda model, inputs: model(**inputs)["scores"].',
            )  # fmt: skip

    @property
    def answers(self) -> ModelAnswers:
        """Gives the logits of a model."""
        return ModelAnswers(self.outputs)

    def settings(self) -> dict[str, Any]:
        """All options but the function, as plain values for a checkpoint."""
        plain = {name: value for name, value in vars(self).items() if name != "outputs"}
        return {**plain, "source": {"of": type(self.source).__name__, **vars(self.source)}}


def resolve_replay(replay: int | Replay | None) -> Replay | None:
    """The options that a user means by a number.

    Example:
        >>> resolve_replay(8).batch_size, resolve_replay(None)
        (8, None)
    """
    if replay is None or isinstance(replay, Replay):
        return replay
    return Replay(check_count("replay", replay, hint="Pass a number of samples a step, or Replay(...)."))
