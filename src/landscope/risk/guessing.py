"""The loss of guessing: that of a model that gives every class, or every yes and no, the same chance."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from landscope._checks import for_float64
from landscope.full_precision import full_precision
from landscope.risk.empirical import EmpiricalRisk
from landscope.risk.outputs import OutputSource, output_source
from landscope.risk.weighted_losses import total_weight

__all__ = ["Guess", "guess_above"]

_FEW = 4
"""Samples by which it is found how a loss reads the outputs."""
_SAME = 1e-3
"""Relative difference up to which two slopes, or two losses, are the same."""
_CLEARLY = 0.98
"""Share of the loss of guessing below which a model knows something: a smaller gain can be by chance."""
_SCALES = (0.25, 1.0, 4.0)
"""Sizes of logits, by their standard deviation, at which it is tried whether a model only is too sure."""


@dataclasses.dataclass(frozen=True)
class Guess:
    """The loss of guessing.

    Args:
        loss: The loss of the same chance for every answer, on the data of a risk.
        n_classes: Number of classes among which is guessed; None for a yes or no at each output.
    """

    loss: float
    n_classes: int | None

    def __str__(self) -> str:
        return "among yes and no" if self.n_classes is None else f"among {self.n_classes:,} classes"


@torch.no_grad()
@full_precision()
def guess_above(risk: EmpiricalRisk, loss: float) -> Guess | None:
    r"""The loss of guessing, where the model of a risk knows no more of the data than that.

    To guess is to give outputs of zero, where the loss is a cross-entropy of the outputs z,

    .. math:: W \ln \sum_c e^{z_c} - \sum_c Q_c z_c \quad\text{or}\quad W \ln(1 + e^z) - Q z

    with any targets Q and their weight W at each place: labels or shares of classes, one or several yes and no, tokens,
    class weights, ``pos_weight``, label smoothing and ignored places; as a criterion, or in a function of
    ``from_closure``. This is found out and not assumed: the slope along the outputs must be W times their chances, less
    Q, at random outputs.

    A model that is only too sure does know the data: its loss is clearly below that of guessing where all its logits
    are multiplied by a small number.

    Args:
        risk: The risk.
        loss: Its value where it was made.

    Returns:
        None where the model knows more, and where the loss of guessing is not known: of other losses, of functions of
        several outputs of the model, and of logits that are scaled, masked or cut before the cross-entropy.

    Example:
        >>> model = torch.nn.Linear(1, 3)
        >>> _ = model.bias.data.copy_(torch.tensor([0.0, 0.0, 5.0])), model.weight.data.zero_()
        >>> data = torch.ones(4, 1), torch.tensor([0, 1, 0, 1])
        >>> guess = guess_above(EmpiricalRisk(model, torch.nn.CrossEntropyLoss(), data), 5.0)
        >>> round(guess.loss, 3), guess.n_classes
        (1.099, 3)
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a function of the user on outputs that it never sees otherwise
            return _guess_above(risk, loss)
    except Exception:  # noqa: BLE001 - a loss may fail in any manner on outputs that are not those of its model
        return None


def _guess_above(risk: EmpiricalRisk, loss: float) -> Guess | None:
    few = output_source(risk.random_subset(_FEW).fisher_information().blocks)
    parameters = risk.space.unflatten(risk.w0)
    tensors = few.outputs(parameters, 0).tensors
    form = _form_of(few, parameters, tensors[0]) if len(tensors) == 1 else None
    if form is None:
        return None
    source = output_source(risk.fisher_information().blocks)
    guess = _loss_at(source, parameters, form, 0.0)
    if not loss > guess * (1 + _SAME**2):
        return None
    size = float(tensors[0].std())
    if size and any(_loss_at(source, parameters, form, scale / size) < _CLEARLY * guess for scale in _SCALES):
        return None
    return Guess(guess, None if form.axis is None else tensors[0].shape[form.axis])


@dataclasses.dataclass(frozen=True)
class _Form:
    """How a loss reads outputs.

    Args:
        axis: Axis of the classes; None where each output is a yes or no of its own.
        is_normal: Whether the outputs are the logarithms of chances, which add up to one; otherwise they are logits.
    """

    axis: int | None
    is_normal: bool = False

    def outputs(self, logits: Tensor) -> Tensor:
        """The outputs of logits."""
        return F.log_softmax(logits, self.axis) if self.is_normal and self.axis is not None else logits

    def n_answers(self, like: Tensor) -> int:
        """Number of answers at each place."""
        return 2 if self.axis is None else like.shape[self.axis]

    def guessed(self, like: Tensor) -> float:
        """The loss of guessing one answer."""
        return math.log(self.n_answers(like))

    def chances(self, logits: Tensor) -> Tensor:
        """Their chances less those of guessing."""
        chances = logits.sigmoid() if self.axis is None else logits.softmax(self.axis)
        return chances - 1 / self.n_answers(logits)

    def summed(self, values: Tensor) -> Tensor:
        """The sum over the classes of each place."""
        return values if self.axis is None else values.sum(dim=self.axis, keepdim=True)

    def drawn(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Logits that are far from each other at each place, and from zero."""
        axis = -1 if self.axis is None else self.axis
        signs = (1 - 2 * (torch.arange(like.shape[axis]) % 2)).to(like)
        sizes = 1 + torch.rand(like.shape, generator=generator).to(like)
        return sizes * signs.view(-1, *[1] * (like.ndim - 1 - axis % like.ndim))


def _form_of(source: OutputSource, parameters: dict[str, Tensor], like: Tensor) -> _Form | None:
    """How the loss of the first part of the data reads the outputs; None where it is no cross-entropy of them."""
    axes = dict.fromkeys(axis % like.ndim for axis in (1, -1) if like.ndim > 1)
    forms = [_Form(axis, _are_normal(like, axis)) for axis in axes if like.shape[axis] > 1]
    outputs = source.outputs(parameters, 0)

    def loss(form: _Form) -> Callable[[Tensor], Tensor]:
        return lambda logits: source.losses(outputs, [form.outputs(logits)], 0)[0].sum()

    return next((form for form in (*forms, _Form(None)) if _is_cross_entropy(loss(form), form, like)), None)


def _are_normal(outputs: Tensor, axis: int) -> bool:
    return bool(outputs.logsumexp(axis).abs().max() <= _SAME)


def _is_cross_entropy(loss: Callable[[Tensor], Tensor], form: _Form, like: Tensor) -> bool:
    """Whether the slope of a loss is W (chances) - Q, with one weight W and the targets Q at each place."""
    generator = torch.Generator().manual_seed(0)
    loss0, slope0 = _with_slope(loss, torch.zeros_like(like, memory_format=torch.contiguous_format))
    weights = None
    for sign in (1, -1):
        point = sign * form.drawn(like, generator)
        slope, chances = _with_slope(loss, point)[1] - slope0, form.chances(point)
        if weights is None:
            weights = form.summed(chances * slope) / form.summed(chances * chances)
        expected = weights * chances
        if not float(torch.dist(slope, expected)) <= _SAME * float(torch.linalg.vector_norm(expected)):
            return False
    assert weights is not None  # noqa: S101 - of the first point
    targets = weights / form.n_answers(like) - slope0
    largest = weights.max()
    if not largest > 0 or float(torch.minimum(weights.min(), targets.min())) < -_SAME * float(largest):
        return False
    return math.isclose(float(loss0), float(for_float64(weights).double().sum()) * form.guessed(like), rel_tol=_SAME)


def _with_slope(loss: Callable[[Tensor], Tensor], point: Tensor) -> tuple[Tensor, Tensor]:
    point = point.clone().requires_grad_()
    with torch.enable_grad():
        value = loss(point)
        return value.detach(), torch.autograd.grad(value, point)[0]


def _loss_at(source: OutputSource, parameters: dict[str, Tensor], form: _Form, scale: float) -> float:
    """The mean loss where all logits are multiplied by a number."""
    total = weight = 0.0
    for block in range(source.n_blocks):
        outputs = source.outputs(parameters, block)
        found = outputs.tensors[0]
        logits = scale * found if scale else torch.zeros_like(found)
        losses, weights = source.losses(outputs, [form.outputs(logits)], block)
        total, weight = total + float(for_float64(losses).double().sum()), weight + total_weight(weights)
    return total / weight
