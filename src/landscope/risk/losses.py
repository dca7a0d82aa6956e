"""Losses of single samples from the criterion of the user, accurate for tiny losses."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscope.errors import InputError, LandscopeWarning
from landscope.notices import warn
from landscope.risk.hints import check_takes_two
from landscope.risk.known_labels import has_negative
from landscope.risk.samples import n_targets, unwrapped
from landscope.risk.weighted_losses import check_real, read_losses, read_pair

__all__ = [
    "SampleLosses",
    "Unreduced",
    "cross_entropy_of_margins",
    "ignored_label",
    "is_plain_cross_entropy",
    "margins_of",
    "sample_losses_of",
    "smooth_cross_entropy_of_margins",
]

_MODULES: dict[Callable[..., Tensor], Callable[[], nn.Module]] = {
    F.cross_entropy: nn.CrossEntropyLoss,
    F.mse_loss: nn.MSELoss,
    F.nll_loss: nn.NLLLoss,
    F.l1_loss: nn.L1Loss,
    F.smooth_l1_loss: nn.SmoothL1Loss,
    F.huber_loss: nn.HuberLoss,
    F.binary_cross_entropy: nn.BCELoss,
    F.binary_cross_entropy_with_logits: nn.BCEWithLogitsLoss,
}

_BROADCAST = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.PoissonNLLLoss, nn.KLDivLoss, nn.SoftMarginLoss)
"""Losses of torch that broadcast outputs against targets, so that a wrong shape gives a wrong number."""


SampleLosses = Callable[[Any, Any], tuple[Tensor, Tensor | float]]
"""``outputs, targets -> (losses[m], weight)``; the risk is sum(losses) / sum(weight) over all data.

The weight is a float if each loss has weight one; a vector of the weight of each loss; or their sum as a tensor.
"""


def sample_losses_of(criterion: Callable[..., Any]) -> SampleLosses:
    """Convert ``criterion(outputs, targets)`` to a function for the losses of single samples.

    A ``torch.nn`` loss or its functional form, also as a ``functools.partial`` with keywords, is evaluated without
    reduction; it uses the ``logits`` of a model with several outputs, and ``GaussianNLLLoss`` the pair (mean,
    variance). Any other callable may return one loss for each sample; a scalar, which is the mean over the batch; or
    ``(losses, weight)`` with one weight for each loss, or one for all, such as the number of counted tokens.
    """
    if isinstance(criterion, type) or not callable(criterion):
        raise InputError(
            expected="a criterion that can be called as criterion(outputs, targets)", got=f"{criterion!r}",
            hint="Pass torch.nn.functional.cross_entropy or torch.nn.CrossEntropyLoss(), for example.",
        )  # fmt: skip
    check_takes_two(criterion)
    module = _module_of(criterion)
    if is_torch_loss(module) and module.reduction == "sum":
        warn(
            f"{type(module).__name__} has reduction='sum'. landscope uses the mean over the samples, which is the sum "
            "divided by their number; directions, flatness and exponents are the same for both.",
            LandscopeWarning,
        )
    # Only losses of torch itself: a subclass may compute another loss, so its own result is used.
    if is_torch_loss(module) and isinstance(module, nn.CrossEntropyLoss | nn.NLLLoss):
        losses = _of_classes(module)
        return _of_logits(_accurate(losses) if is_plain_cross_entropy(criterion) else losses)
    if type(module) is nn.GaussianNLLLoss:
        return Unreduced(_of_mean_and_variance(_without_reduction(module)), add_up=module.reduction == "sum")
    if is_torch_loss(module):
        unreduced = _without_reduction(module)
        unreduced = _of_equal_shapes(unreduced) if isinstance(module, _BROADCAST) else unreduced
        return _of_logits(Unreduced(unreduced, add_up=module.reduction in ("batchmean", "sum")))
    return Unreduced(criterion)


def _module_of(criterion: Callable[..., Any]) -> nn.Module | None:
    """The module that computes a criterion, if the criterion is a module or a function of torch."""
    if isinstance(criterion, nn.Module):
        return criterion
    keywords = {}
    if isinstance(criterion, functools.partial) and not criterion.args:
        criterion, keywords = criterion.func, criterion.keywords
    try:
        return _MODULES[criterion](**keywords)
    except (KeyError, TypeError):  # another function, one that cannot be hashed, or keywords of the functional form
        return None


def ignored_label(criterion: Callable[..., Any]) -> int | None:
    """The label that a loss of classes leaves out; None if the criterion is no such loss of torch."""
    module = _module_of(criterion)
    if is_torch_loss(module) and isinstance(module, nn.CrossEntropyLoss | nn.NLLLoss):
        return module.ignore_index
    return None


def is_torch_loss(module: nn.Module | None) -> TypeGuard[Any]:
    """Whether a module is a loss of torch, not of a subclass, which may compute another one."""
    return module is not None and type(module).__module__ == nn.MSELoss.__module__ and hasattr(module, "reduction")


def is_plain_cross_entropy(criterion: Callable[..., Any]) -> bool:
    """Whether the criterion is cross-entropy without class weights, smoothing or an ignored label of the user."""
    if type(criterion) is nn.CrossEntropyLoss:
        return criterion.weight is None and criterion.label_smoothing == 0 and criterion.ignore_index == -100
    return criterion is F.cross_entropy


def _without_reduction(module: nn.Module) -> nn.Module:
    unreduced = copy.copy(module)
    setattr(unreduced, "reduction", "none")  # noqa: B010 - every torch.nn loss has it, but nn.Module does not declare it
    return unreduced


def _of_equal_shapes(criterion: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """The criterion; outputs and targets of different shapes would be compared each with each."""

    def losses(outputs: Tensor, targets: Tensor) -> Tensor:
        if isinstance(targets, Tensor) and outputs.shape != targets.shape:
            raise InputError(
                expected=f"targets of the shape of the outputs, {list(outputs.shape)}",
                got=f"targets of shape {list(targets.shape)}",
                hint="Reshape the targets, as by targets[:, None], or let the model return outputs.squeeze(1).",
            )
        return criterion(outputs, targets)

    return losses


def _accurate(other: SampleLosses) -> SampleLosses:
    """Cross-entropy of labels, accurate for tiny losses; ``other`` for targets of another kind, or ignored ones."""

    def losses(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | float]:
        if logits.ndim != 2 or targets.is_floating_point() or has_negative(targets):
            return other(logits, targets)
        # -log softmax = softplus(log sum over the wrong classes of exp(z_j - z_y)). This form is accurate for a loss
        # of 1e-9, for which the usual form loses all digits.
        targets = targets.long()
        margins = logits - logits.gather(1, targets[:, None])
        wrong = margins.masked_fill(F.one_hot(targets, logits.shape[1]).bool(), -torch.inf)
        return _softplus(torch.logsumexp(wrong, dim=1)), float(len(targets))

    return losses


def _softplus(x: Tensor) -> Tensor:
    """log(1 + e^x). Torch leaves out e^-x from x = 20 on, which is 2e-9; at 40 it is below the rounding of float64."""
    return F.softplus(x, threshold=40)


def margins_of(logits: Tensor, targets: Tensor | int) -> Tensor:
    """Class-major margins ``z_j - z_y`` of every class over the right class y, for :func:`cross_entropy_of_margins`.

    The logits ``[classes, b]`` may be overwritten. The targets are labels ``[b]``, or the single label of all samples,
    whose row is then left out.
    """
    if isinstance(targets, int):
        return torch.cat([logits[:targets], logits[targets + 1 :]]) - logits[targets]
    logits -= logits.gather(0, targets[None])
    return logits.scatter_(0, targets[None], -torch.inf)


def cross_entropy_of_margins(margins: Tensor) -> Tensor:
    """Cross-entropy of each sample from its margins ``[classes, b]``, with reductions along contiguous memory.

    The loss is ``log(1 + sum_j exp(z_j - z_y))`` over the wrong classes.
    """
    losses = torch.exp(margins).sum(dim=0).log1p_()
    total = losses.sum()
    if margins.device.type == "cpu":
        return losses if math.isfinite(total) else smooth_cross_entropy_of_margins(margins)
    return torch.where(total.isfinite(), losses, smooth_cross_entropy_of_margins(margins))  # a GPU is not asked


def smooth_cross_entropy_of_margins(margins: Tensor) -> Tensor:
    """A slower form that does not overflow; derivatives need it, because they overflow earlier than the loss."""
    return _softplus(torch.logsumexp(margins, dim=0))


def _of_logits(sample_losses: SampleLosses) -> SampleLosses:
    """A loss of torch for models that return logits, also among other outputs."""

    def losses(outputs: Any, targets: Any) -> tuple[Tensor, Tensor | float]:
        named = outputs.get("logits") if isinstance(outputs, Mapping) else getattr(outputs, "logits", None)
        logits = outputs if isinstance(outputs, Tensor) else named
        if not isinstance(logits, Tensor):
            raise InputError(
                expected="a model that returns a tensor or an output with logits",
                got=type(outputs).__name__,
                hint="Pass a custom criterion that accepts the output of the model.",
            )
        are_tokens = isinstance(targets, Tensor) and targets.ndim == 2 and not targets.is_floating_point()
        if are_tokens and logits.ndim == 3 and logits.shape[:2] == targets.shape != logits.shape[::2]:
            raise InputError(
                expected=f"logits [b, C, t] with classes on axis 1, for targets [b, t] = {list(targets.shape)}",
                got=f"logits of shape {list(logits.shape)}",
                hint="For the loss that a model of transformers computes itself leave out both criterion and losses, "
                "as in ls.keep(model, data=batches). Otherwise pass a criterion that transposes the logits, or, for a "
                "causal model, landscope.adapters.huggingface.language_model_losses, which also shifts the targets.",
            )
        return sample_losses(logits, targets)

    return losses


def _of_mean_and_variance(module: nn.Module) -> Callable[[Any, Any], Tensor]:
    """The loss of outputs ``(mean, variance)``."""

    def losses(outputs: Any, targets: Any) -> Tensor:
        if not isinstance(outputs, tuple | list) or len(outputs) != 2:
            raise InputError(
                expected="a model that returns (mean, variance) for GaussianNLLLoss", got=type(outputs).__name__,
                hint="Return both, or pass ls.NegativeLogLikelihood(distribution) as the criterion.",
            )  # fmt: skip
        return module(outputs[0], targets, outputs[1])

    return losses


def _of_classes(module: nn.CrossEntropyLoss | nn.NLLLoss) -> SampleLosses:
    """A loss of labels, perhaps with class weights or ignored targets, reduced as a training with it does.

    The mean of torch is over the weights of the counted targets. A sum over the samples of a minibatch, or the losses
    of its samples, which a training divides by their number, count every sample once: also those of another weight.
    """
    unreduced, weight, ignored = _without_reduction(module), module.weight, module.ignore_index
    if module.reduction != "mean":
        return Unreduced(unreduced, add_up=module.reduction == "sum")

    def losses(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | float]:
        losses = unreduced(outputs, targets)
        if targets.is_floating_point():  # class probabilities: every sample has weight one
            return read_losses(losses)
        counted = targets != ignored
        weights = counted if weight is None else weight.to(outputs)[targets.masked_fill(~counted, 0)] * counted
        return read_pair(losses, weights)

    return losses


class Unreduced:
    """A criterion that returns one loss for each sample, their mean, or losses and their weight."""

    def __init__(self, criterion: Callable[..., Any], *, add_up: bool = False) -> None:
        self._criterion, self._add_up = criterion, add_up

    def __call__(self, outputs: Any, targets: Any) -> tuple[Tensor, Tensor | float]:
        """The losses and their weight."""
        losses = self._criterion(outputs, unwrapped(targets))
        if isinstance(losses, tuple) and len(losses) == 2 and isinstance(losses[0], Tensor):
            return read_pair(*losses)
        if not isinstance(losses, Tensor):
            raise InputError(
                expected="criterion(outputs, targets) to return a tensor",
                got=type(losses).__name__,
                hint="Return the loss of each sample, their mean, or (losses, weight), without .item()."
                + (
                    " The model gets no labels here, so its outputs have no loss: leave out both criterion and losses "
                    "for the loss that it computes itself."
                    if losses is None
                    else ""
                ),
            )
        check_real(losses)
        if losses.ndim == 0:
            count = n_targets(targets)
            if count is None:
                raise InputError(
                    expected="a criterion whose samples can be counted",
                    got="one number for a batch that does not say how many samples it has",
                    hint="Return the loss of each sample or (losses, weight), or pass count=f, where f(batch) gives "
                    "the number of samples that the mean is taken over (ls.Study, ls.keep, consolidate: "
                    "loss_options={'count': f}).",
                )
            return losses.reshape(1) * count, float(count)
        rows = losses.reshape(len(losses), -1)
        return rows.sum(dim=1) if self._add_up else rows.mean(dim=1), float(len(losses))
