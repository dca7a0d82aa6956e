"""How the targets are distributed given the outputs of a model: what a Fisher information is about."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution, kl_divergence

from landscope.errors import InputError
from landscope.risk.language_model import language_model_losses, token_losses
from landscope.risk.output_curvature import curvature_slopes, curvature_times
from landscope.risk.outputs import Outputs
from landscope.shown import name_of

__all__ = ["Answers", "ClassAnswers", "DistributionAnswers", "NegativeLogLikelihood", "NumberAnswers", "answers_of"]

Slopes = list[Tensor]
"""A vector along the output tensors of every sample."""


class Answers(abc.ABC):
    """The distribution of the targets given the outputs, scaled so that it belongs to the mean that the risk takes."""

    @abc.abstractmethod
    def n_slopes(self, outputs: Outputs) -> int:
        """Number of vectors that :meth:`slopes` gives."""

    @abc.abstractmethod
    def slopes(self, outputs: Outputs, targets: Any) -> Iterator[Slopes]:
        """Vectors s along the outputs of every sample whose sum of s s' is the Fisher information of the outputs."""

    @abc.abstractmethod
    def drawn(self, outputs: Outputs, targets: Any, generator: torch.Generator) -> Slopes:
        """The slope of ln p along the outputs, for one target of every sample drawn from the model."""

    def mixed(self, outputs: Outputs, targets: Any, generator: torch.Generator) -> Slopes:
        """The sum of all slopes, each with a random sign of each sample; the mean of s s' is the Fisher information."""
        total: Slopes = []
        for slopes in self.slopes(outputs, targets):
            signs = _signs(slopes[0][(slice(None), *[0] * (slopes[0].ndim - 1))], generator)
            signed = [signs.view(-1, *[1] * (slope.ndim - 1)) * slope for slope in slopes]
            total = [a + b for a, b in zip(total, signed, strict=True)] if total else signed
        return total

    @abc.abstractmethod
    def product(self, outputs: Outputs, change: Slopes, targets: Any) -> Slopes:
        """The Fisher information of the outputs times a change of the outputs."""


@dataclasses.dataclass(frozen=True)
class ClassAnswers(Answers):
    """One class at each position, independent given the logits.

    Args:
        axis: Axis of the classes in the logits.
        counted: ``logits with classes last, targets -> mask`` of the positions that count; None where all do.
        averaged: Whether the risk takes the mean over the positions of each sample, whether or not they count.
    """

    axis: int = 1
    counted: Callable[[Tensor, Any], Tensor | None] = lambda _logits, _targets: None
    averaged: bool = False

    def n_slopes(self, outputs: Outputs) -> int:
        """Number of classes times positions."""
        return math.prod(outputs.tensors[0].shape[1:])

    def slopes(self, outputs: Outputs, targets: Any) -> Iterator[Slopes]:
        """For each position and class, sqrt(p_c) times the slope of ln p_c."""
        p, mask = self._chances(outputs, targets)
        flat = p.reshape(len(p), -1, p.shape[-1])
        counts = torch.ones_like(flat[..., 0]) if mask is None else mask.reshape(len(p), -1).to(p)
        counts = counts * math.sqrt(self._share(p))
        for position in range(flat.shape[1]):
            for label in range(flat.shape[2]):
                slope = torch.zeros_like(flat)
                slope[:, position] = -flat[:, position]
                slope[:, position, label] += 1
                slope[:, position] *= (flat[:, position, label].sqrt() * counts[:, position])[:, None]
                yield [slope.view_as(p).movedim(-1, self.axis)]

    def drawn(self, outputs: Outputs, targets: Any, generator: torch.Generator) -> Slopes:
        """One class drawn at each position."""
        p, mask = self._chances(outputs, targets)
        rows = p.reshape(-1, p.shape[-1]).to(generator.device)
        labels = torch.multinomial(rows, 1, generator=generator).view(p.shape[:-1]).to(p.device)
        return self._masked(math.sqrt(self._share(p)) * (F.one_hot(labels, p.shape[-1]).to(p) - p), mask)

    def mixed(self, outputs: Outputs, targets: Any, generator: torch.Generator) -> Slopes:
        """All classes with a random sign at each position."""
        p, mask = self._chances(outputs, targets)
        signed = math.sqrt(self._share(p)) * p.sqrt() * _signs(p, generator)
        return self._masked(signed - p * signed.sum(dim=-1, keepdim=True), mask)

    def product(self, outputs: Outputs, change: Slopes, targets: Any) -> Slopes:
        """(diag(p) - p p') times the change, at each position."""
        p, mask = self._chances(outputs, targets)
        along = self._share(p) * p * change[0].movedim(self.axis, -1)
        return self._masked(along - p * along.sum(dim=-1, keepdim=True), mask)

    def _share(self, p: Tensor) -> float:
        return 1 / max(1, math.prod(p.shape[1:-1])) if self.averaged else 1.0

    def _chances(self, outputs: Outputs, targets: Any) -> tuple[Tensor, Tensor | None]:
        """Probabilities with the classes on the last axis, and the mask of the positions that count."""
        logits = outputs.tensors[0]
        if logits.ndim < 2:
            raise InputError(
                expected="logits [b, classes] of a classifier", got=f"outputs of shape {list(logits.shape)}",
                hint="Keep the axis of the samples in the outputs.",
            )  # fmt: skip
        logits = logits.movedim(self.axis, -1)
        logits = logits.float() if logits.dtype.itemsize < torch.float32.itemsize else logits
        return logits.softmax(dim=-1), self.counted(logits, targets)

    def _masked(self, slopes: Tensor, mask: Tensor | None) -> Slopes:
        kept = slopes if mask is None else slopes * mask[..., None].to(slopes)
        return [kept.movedim(-1, self.axis)]


@dataclasses.dataclass(frozen=True)
class NumberAnswers(Answers):
    """One answer for each output, or for each pair of outputs, independent given the outputs.

    Args:
        information: ``output tensors -> Fisher information`` of each output about itself; no two outputs share any.
        slope: ``output tensors, generator -> slope`` of ln p along each output, for a drawn answer.
        averaged: Whether the risk takes the mean over the answers of a sample; otherwise their sum.
    """

    information: Callable[[Slopes], Slopes]
    slope: Callable[[Slopes, torch.Generator], Slopes]
    averaged: bool = True

    def n_slopes(self, outputs: Outputs) -> int:
        """Number of outputs of a sample."""
        return sum(math.prod(tensor.shape[1:]) for tensor in outputs.tensors)

    def slopes(self, outputs: Outputs, targets: Any) -> Iterator[Slopes]:  # noqa: ARG002 - no output is ignored
        """For each output, the square root of its information."""
        scales = [scale.sqrt() for scale in self._scaled(outputs)]
        for place, scale in enumerate(scales):
            for column in range(math.prod(scale.shape[1:])):
                slopes = [torch.zeros_like(other, memory_format=torch.contiguous_format) for other in scales]
                slopes[place].reshape(len(scale), -1)[:, column] = scale.reshape(len(scale), -1)[:, column]
                yield slopes

    def drawn(self, outputs: Outputs, targets: Any, generator: torch.Generator) -> Slopes:  # noqa: ARG002
        """One answer drawn for each output."""
        factor = math.sqrt(self._share(outputs))
        slopes = zip(self.slope(outputs.tensors, generator), outputs.tensors, strict=True)
        return [factor * slope.sum_to_size(tensor.shape) for slope, tensor in slopes]

    def mixed(self, outputs: Outputs, targets: Any, generator: torch.Generator) -> Slopes:  # noqa: ARG002
        """All outputs with random signs."""
        return [scale.sqrt() * _signs(scale, generator) for scale in self._scaled(outputs)]

    def product(self, outputs: Outputs, change: Slopes, targets: Any) -> Slopes:  # noqa: ARG002
        """The information of each output times its change."""
        return [scale * part for scale, part in zip(self._scaled(outputs), change, strict=True)]

    def _share(self, outputs: Outputs) -> float:
        return 1 / max(1, math.prod(outputs.tensors[0].shape[1:])) if self.averaged else 1.0

    def _scaled(self, outputs: Outputs) -> Slopes:
        scales = zip(self.information(outputs.tensors), outputs.tensors, strict=True)
        return [self._share(outputs) * scale.sum_to_size(tensor.shape) for scale, tensor in scales]


@dataclasses.dataclass(frozen=True)
class DistributionAnswers(Answers):
    """Targets by a distribution of torch.

    Args:
        distribution: ``outputs -> torch.distributions.Distribution`` whose first axis is that of the samples.
    """

    distribution: Callable[[Any], Distribution]

    def n_slopes(self, outputs: Outputs) -> int:
        """Number of outputs of a sample."""
        return sum(math.prod(tensor.shape[1:]) for tensor in outputs.tensors)

    def slopes(self, outputs: Outputs, targets: Any) -> Iterator[Slopes]:  # noqa: ARG002 - the model's own targets
        """The eigenvectors of the curvature of the divergence, in units of the square roots of their eigenvalues."""
        for slopes, weights in curvature_slopes(self._divergence(outputs), outputs.tensors):
            factors = weights.clamp(min=0).sqrt()
            yield [factors.view(-1, *[1] * (slope.ndim - 1)) * slope for slope in slopes]

    def drawn(self, outputs: Outputs, targets: Any, generator: torch.Generator) -> Slopes:
        """The slope of ln p of one draw of every sample."""
        tensors = [tensor.detach().clone().requires_grad_() for tensor in outputs.tensors]
        with torch.enable_grad():
            known = self.distribution(outputs.value(tensors))
            with _drawing(generator):
                targets = known.sample()
            return list(torch.autograd.grad(known.log_prob(targets).sum(), tensors))

    def product(self, outputs: Outputs, change: Slopes, targets: Any) -> Slopes:  # noqa: ARG002
        """The curvature of the divergence times the change."""
        return curvature_times(self._divergence(outputs), outputs.tensors, change)

    def _divergence(self, outputs: Outputs) -> Callable[[Sequence[Tensor]], Tensor]:
        r"""The divergence from the outputs as they are; its curvature there is their Fisher information."""
        here = self.distribution(outputs.detached().value())

        def divergence(tensors: Sequence[Tensor]) -> Tensor:
            try:
                return kl_divergence(here, self.distribution(outputs.value(tensors))).sum()
            except NotImplementedError:
                raise InputError(
                    expected="a distribution with a Kullback-Leibler divergence in torch", got=type(here).__name__,
                    hint='Take the Fisher information "monte-carlo".',
                ) from None  # fmt: skip

        return divergence


@contextlib.contextmanager
def _drawing(generator: torch.Generator) -> Generator[None]:
    """Let torch's own generator continue ours, and restore it afterwards: distributions take no generator."""
    seed = int(torch.randint(2**62, (), generator=generator))
    used = [torch.cuda.current_device()] if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=used):
        torch.manual_seed(seed)
        yield


class NegativeLogLikelihood:
    r"""A criterion from the distribution of the targets: :math:`d_k = -\ln p(z_k \mid f(x_k))` for each sample.

    The risk then knows its Fisher information, exact and by draws, for any distribution.

    Args:
        distribution: ``distribution(outputs)`` gives a ``torch.distributions.Distribution``; its first axis is that of
            the samples, and the log-likelihoods of all parts of a sample are added.

    Example:
        Regression with a standard deviation of 0.5: the Fisher information is the mean of x x' over 0.25.

        >>> import torch
        >>> from landscope import EmpiricalRisk
        >>> criterion = NegativeLogLikelihood(lambda outputs: torch.distributions.Normal(outputs, 0.5))
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> data = (torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1))
        >>> EmpiricalRisk(model, criterion, data).fisher_information().diagonal(torch.zeros(1)).tolist()
        [20.0]
    """

    def __init__(self, distribution: Callable[[Any], Distribution]) -> None:
        self.distribution = distribution

    def __repr__(self) -> str:
        return f"NegativeLogLikelihood(distribution={name_of(self.distribution)})"

    def __call__(self, outputs: Any, targets: Any) -> Tensor:
        """The loss of each sample.

        Args:
            outputs: Outputs of the model.
            targets: Targets, of the shape of a draw of the distribution.

        Returns:
            Losses ``[b]``.

        Raises:
            InputError: If the targets are not of the shape of a draw, which would repeat them without a word.
        """
        known = self.distribution(outputs)
        shape = known.batch_shape + known.event_shape
        if isinstance(targets, Tensor) and targets.shape != shape:
            raise InputError(
                expected=f"targets of shape {list(shape)}, that of a draw of {type(known).__name__}",
                got=f"shape {list(targets.shape)}", hint="Give the outputs or the targets another shape.",
            )  # fmt: skip
        losses = -known.log_prob(targets)
        return losses.reshape(len(losses), -1).sum(dim=1)


def answers_of(criterion: Callable[..., Any]) -> Answers | None:
    """The distribution of the targets whose negative log-likelihood a criterion is, or None where it is not known."""
    if isinstance(criterion, NegativeLogLikelihood):
        return DistributionAnswers(criterion.distribution)
    if criterion is language_model_losses:
        return ClassAnswers(axis=-1, counted=_next_tokens)
    if criterion is token_losses:
        return ClassAnswers(axis=-1, counted=_without(-100))
    module = _module_of(criterion)
    averaged = getattr(module, "reduction", "mean") not in ("sum", "batchmean")
    if type(module) in (nn.CrossEntropyLoss, nn.NLLLoss) and module.weight is None:
        return ClassAnswers(counted=_without(int(module.ignore_index)), averaged=module.reduction == "none")
    if type(module) is nn.MSELoss:
        return NumberAnswers(_of_squares, _drawn_of_squares, averaged)
    if type(module) is nn.GaussianNLLLoss:
        return NumberAnswers(_of_variances, _drawn_of_variances, averaged)
    if type(module) is nn.BCEWithLogitsLoss and module.weight is None and module.pos_weight is None:
        return NumberAnswers(_of_logits, _drawn_of_logits, averaged)
    if type(module) is nn.BCELoss and module.weight is None:
        return NumberAnswers(_of_chances, _drawn_of_chances, averaged)
    return None


_MODULES: dict[Callable[..., Any], Callable[[], nn.Module]] = {
    F.cross_entropy: nn.CrossEntropyLoss,
    F.nll_loss: nn.NLLLoss,
    F.mse_loss: nn.MSELoss,
    F.binary_cross_entropy: nn.BCELoss,
    F.binary_cross_entropy_with_logits: nn.BCEWithLogitsLoss,
}


def _module_of(criterion: Callable[..., Any]) -> Any:
    """The module of a loss of torch, or None."""
    if isinstance(criterion, nn.Module):
        return criterion
    return next((make() for function, make in _MODULES.items() if function is criterion), None)


def _without(ignored: int) -> Callable[[Tensor, Any], Tensor | None]:
    """The mask of the targets that are not ignored; class probabilities are never ignored."""

    def counted(logits: Tensor, targets: Any) -> Tensor | None:
        are_labels = isinstance(targets, Tensor) and targets.shape == logits.shape[:-1]
        return targets != ignored if are_labels and not targets.is_floating_point() else None

    return counted


def _next_tokens(logits: Tensor, targets: Any) -> Tensor:
    """Position i predicts token i + 1; the last position predicts none."""
    mask = torch.zeros(logits.shape[:-1], dtype=torch.bool, device=logits.device)
    mask[:, :-1] = targets[:, 1:] != -100
    return mask


def _signs(like: Tensor, generator: torch.Generator) -> Tensor:
    signs = torch.randint(2, like.shape, generator=generator, device=generator.device, dtype=torch.int8)
    return (2 * signs - 1).to(like)


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=generator.device).to(like.device)


def _is_one(chances: Tensor, generator: torch.Generator) -> Tensor:
    return torch.bernoulli(chances.to(generator.device), generator=generator).to(chances.device)


def _of_squares(tensors: Slopes) -> Slopes:
    """(y - f)^2 is the negative log-likelihood of a normal answer of variance 1/2."""
    return [torch.full_like(tensors[0], 2.0)]


def _drawn_of_squares(tensors: Slopes, generator: torch.Generator) -> Slopes:
    return [math.sqrt(2) * _normal(tensors[0], generator)]


def _of_variances(tensors: Slopes) -> Slopes:
    mean, variance = tensors
    return [torch.ones_like(mean) / variance, torch.ones_like(mean) / (2 * variance.square())]


def _drawn_of_variances(tensors: Slopes, generator: torch.Generator) -> Slopes:
    mean, variance = tensors
    z = _normal(mean, generator)
    return [z / variance.sqrt(), (z.square() - 1) / (2 * variance)]


def _of_logits(tensors: Slopes) -> Slopes:
    p = tensors[0].sigmoid()
    return [p * (1 - p)]


def _drawn_of_logits(tensors: Slopes, generator: torch.Generator) -> Slopes:
    p = tensors[0].sigmoid()
    return [_is_one(p, generator) - p]


def _of_chances(tensors: Slopes) -> Slopes:
    return [1 / (tensors[0] * (1 - tensors[0]))]


def _drawn_of_chances(tensors: Slopes, generator: torch.Generator) -> Slopes:
    p = tensors[0]
    return [(_is_one(p, generator) - p) / (p * (1 - p))]
