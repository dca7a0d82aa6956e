"""Checks of the model, the criterion and the data of a risk; each check raises an error."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscope._checks import explained, for_float64
from landscope.errors import InputError, NondeterministicLossError
from landscope.parameters import ParameterSpace
from landscope.risk.batch_norm import ReestimatedLosses
from landscope.risk.checkpointing import no_checkpointing
from landscope.risk.closure_module import ClosureModule
from landscope.risk.data import OTHER_BATCHES, Block, call_model, fits, signature_of
from landscope.risk.equal_gradients import warn_of_nonlinear_backward
from landscope.risk.evaluation import BlockLosses
from landscope.risk.finite_loss import check_loss_is_a_number
from landscope.risk.graphs import GraphWhereNeeded
from landscope.risk.hints import criterion_hint, described, inputs_hint
from landscope.risk.losses import SampleLosses
from landscope.risk.weighted_losses import WeightedLosses
from landscope.risk.whole_losses import ClosureLosses
from landscope.seeded import kept_random_state, seeded

__all__ = [
    "UnusedWeightsError", "check_criterion", "check_inputs", "check_labels", "check_losses", "described", "outputs_of",
    "uses_weights",
]  # fmt: skip

_IGNORED = -100
_PROBED = 32
_FIXED_DRAWS = (
    "fix them: EmpiricalRisk.from_closure(model, f, data, seed=0) draws the same numbers for a batch at every point, "
    "as a variational or a diffusion loss needs (ls.Study: losses=f, loss_options={'seed': 0})."
)
_GRAPH_HINT = (
    "Take inner derivatives with torch.autograd.grad(..., create_graph=True), also in eval mode, and do not call "
    "backward() in the loss."
)


def check_inputs(model: nn.Module, inputs: Any) -> None:
    """Raise if the model does not accept the keys of a batch; its own error would only mention wrong types."""
    if (signature := signature_of(model)) is None:
        return
    wanted = list(signature.parameters)
    if isinstance(inputs, Mapping) and not fits(model, (), inputs) and (len(wanted) != 1 or wanted[0] in inputs):
        raise InputError(
            expected=f"batches with the arguments of {type(model).__name__}.forward: {', '.join(wanted)}",
            got=", ".join(map(str, inputs)),
            hint=f"The targets, under labels, are taken out. Rename or remove the other keys, or {OTHER_BATCHES}",
        )


@torch.no_grad()
def check_labels(model: nn.Module, pairs: Sequence[Block], ignored: int = _IGNORED) -> None:
    """Raise if a label has no output; the evaluation would only say "index out of range"."""
    labels = [targets for _, targets in pairs if isinstance(targets, Tensor) and not targets.is_floating_point()]
    negative = {label for targets in labels for label in targets[targets < 0].unique().tolist()} - {ignored}
    if negative:
        raise InputError(
            expected=f"labels of at least 0, or {ignored} for ignored targets", got=f"label {min(negative)}",
            hint="Check the labels: classes are numbered from 0.",
        )  # fmt: skip
    if not isinstance(pairs[0][0], Tensor):
        return
    with kept_random_state():
        logits = outputs_of(model, pairs[0][0][:1])
    counted = (targets[targets != ignored] for targets in labels)
    largest = max((int(targets.max()) for targets in counted if targets.numel()), default=0)
    if isinstance(logits, Tensor) and logits.ndim >= 2 and _fit(logits, pairs[0][1]) and largest >= logits.shape[1]:
        raise InputError(
            expected=f"labels from 0 to {logits.shape[1] - 1}, one for each output",
            got=f"label {largest}",
            hint="Check the labels, or use a model with an output for each class.",
        )


def _fit(logits: Tensor, targets: Any) -> bool:
    """Whether the classes lie on the second axis of logits, as the losses of torch have them."""
    return not isinstance(targets, Tensor) or logits.shape[2:] == targets.shape[1:]


@torch.no_grad()
def check_criterion(model: nn.Module, sample_losses: SampleLosses, block: Block) -> None:
    """Raise if the model does not accept the inputs, or the criterion the outputs, or if the criterion is random."""
    with kept_random_state():
        outputs, targets = _few_outputs(model, *block, slice(0, _PROBED))
        wanted = f"a criterion for outputs {described(outputs)} with targets {described(targets)}"
        with explained(wanted, criterion_hint(targets)):
            first, second = (GraphWhereNeeded(sample_losses)(outputs, targets)[0] for _ in range(2))
    if not _are_close(first, second):
        _check_draws(
            lambda: GraphWhereNeeded(sample_losses)(outputs, targets)[0].sum(),
            "a criterion that gives the same losses for the same outputs",
        )
        raise NondeterministicLossError(
            expected="a criterion that gives the same losses for the same outputs",
            got=f"a mean of {float(first.mean()):.9g}, then {float(second.mean()):.9g}",
            hint="The criterion draws random numbers. Switch off its dropout or sampling (torch.nn.functional.dropout "
            f"needs training=False), or {_FIXED_DRAWS}",
        )


def _few_outputs(model: nn.Module, inputs: Any, targets: Any, rows: slice) -> tuple[Any, Any]:
    if isinstance(inputs, Tensor) and isinstance(targets, Tensor):
        inputs, targets = inputs[rows], targets[rows]
    return outputs_of(model, inputs), targets


def outputs_of(model: nn.Module, inputs: Any) -> Any:
    """The outputs of the model, with an error that names the inputs."""
    expected = f"inputs that {type(model).__name__} accepts"
    with explained(expected, inputs_hint(model, inputs)), no_checkpointing():
        return GraphWhereNeeded(lambda: call_model(model, copy.deepcopy(inputs)))()


class UnusedWeightsError(InputError):
    """The loss of the samples looked at does not depend on the selected weights."""


def check_losses(blocks: BlockLosses, space: ParameterSpace, w0: Tensor) -> WeightedLosses:
    """Raise if the loss does not depend on the weights, or changes between two equal calls.

    Returns:
        The losses of the first block at these weights, for further checks.
    """
    with kept_random_state():
        total, depends = _first_block(blocks, space, w0)
        with torch.no_grad():
            first = WeightedLosses(*blocks.losses(space.unflatten(w0), 0))
        again = for_float64(first.losses).double().sum()
    if not depends:
        raise UnusedWeightsError(
            expected=f"a loss that depends on {', '.join(space.names)}",
            got="a loss that does not depend on them",
            hint="Select parameters that change the output. A function f(model, batch) must use the model that it is "
            "given. A replaced forward, as by model.forward = torch.compile(model.forward), still calls the original "
            "model: remove it.",
        )
    if not _are_close(total, again):
        _check_needs_no_graph(blocks, space, w0, float(total), again)
        _check_draws(lambda: _total(blocks, space, w0), "the same loss at the same weights in eval mode")
        raise NondeterministicLossError(
            expected="the same loss at the same weights in eval mode",
            got=f"{float(total):.9g}, then {float(again):.9g}",
            hint="The model or losses=f draws random numbers. Switch them off in eval mode (dropout, sampling, "
            f"augmentation; torch.nn.functional.dropout needs training=model.training), or {_FIXED_DRAWS}",
        )
    with kept_random_state():
        check_loss_is_a_number(blocks, space.unflatten(w0), first)
    if isinstance(blocks, ClosureLosses) and blocks.takes_derivatives:
        _check_slope(blocks, space, w0)
    return first


@torch.no_grad()
def _check_draws(loss: Callable[[], Tensor], expected: str) -> None:
    """Raise if a loss differs between two evaluations that draw the same random numbers: it keeps something."""
    found = []
    for _ in range(2):
        with seeded(0):
            found.append(loss())
    if not _are_close(found[0], found[1]):
        raise NondeterministicLossError(
            expected=expected,
            got=f"{float(found[0]):.9g}, then {float(found[1]):.9g}, also with the same random numbers",
            hint="The model or the loss changes something of its own in each call, such as a counter, a buffer or a "
            "running mean, or draws from a generator of its own. Change it in train mode only: `if self.training:`; of "
            "a generator, let landscope seed it: EmpiricalRisk.from_closure(model, f, data, seed=0).",
        )


@torch.no_grad()
def _check_needs_no_graph(
    blocks: BlockLosses, space: ParameterSpace, w0: Tensor, with_graph: float, without: Tensor
) -> None:
    """Raise if the loss is another one where no gradients are wanted, but draws no random numbers."""
    with kept_random_state():
        if not _are_close(_total(blocks, space, w0), without):
            return
    raise NondeterministicLossError(
        expected="the same loss with gradients and without them",
        got=f"{with_graph:.9g} with gradients, and {float(without):.9g} in torch.no_grad()",
        hint="In no_grad, nn.TransformerEncoder with a padding mask returns zeros at the padding. Make it with "
        "enable_nested_tensor=False, or leave the padding out of the loss. Other code should not look at "
        "torch.is_grad_enabled().",
    )


def _check_slope(blocks: BlockLosses, space: ParameterSpace, w0: Tensor) -> None:
    """Raise if the gradient misses a part of a loss that takes derivatives itself, as without ``create_graph=True``."""
    direction = torch.randn(space.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(w0)
    direction /= torch.linalg.vector_norm(direction)
    with torch.enable_grad():
        w = w0.clone().requires_grad_()
        gradient = torch.autograd.grad(_total(blocks, space, w), w)[0]
    slope = float(gradient @ direction)
    reach = (float(torch.linalg.vector_norm(w0)) + 1e-3) * float(torch.finfo(w0.dtype).eps) ** (1 / 3)
    with torch.no_grad():
        ends = [_total(blocks, space, w0 + step * direction) for step in (-2 * reach, -reach, reach, 2 * reach)]
        wide, narrow = float(ends[3] - ends[0]) / (4 * reach), float(ends[2] - ends[1]) / (2 * reach)
    is_known = math.isclose(wide, narrow, rel_tol=0.05)
    if is_known and not math.isclose(narrow, slope, rel_tol=0.2):
        raise InputError(
            expected="a loss whose gradient is that of its value",
            got=f"a slope of {slope:.4g} where the loss changes at a rate of {narrow:.4g}",
            hint=_GRAPH_HINT,
        )


def _total(blocks: BlockLosses, space: ParameterSpace, w: Tensor) -> Tensor:
    return for_float64(blocks.losses(space.unflatten(w), 0)[0]).double().sum()


def uses_weights(
    model: nn.Module, space: ParameterSpace, w0: Tensor, sample_losses: SampleLosses, block: Block
) -> bool:
    """Whether a criterion uses the selected weights itself, apart from the outputs of the model."""
    with torch.no_grad():
        outputs = outputs_of(model, block[0])
    criterion = ClosureModule(model, lambda _, batch: sample_losses(*batch)[0].sum())
    with torch.enable_grad():
        parameters = space.unflatten(w0.clone().requires_grad_())
        return bool(criterion.with_parameters(parameters, (outputs, block[1])).requires_grad)


def _are_close(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and torch.allclose(first, second, rtol=1e-6, atol=0, equal_nan=True)


def _first_block(blocks: BlockLosses, space: ParameterSpace, w0: Tensor) -> tuple[Tensor, bool]:
    """The loss of the first block at w0, and whether it depends on the weights."""
    if isinstance(blocks, ReestimatedLosses):  # it has no derivatives: compare with another point
        other = w0 * torch.rand(space.dim, generator=torch.Generator().manual_seed(0)).to(w0) + 1e-3
        hint = "Pass more samples: statistics that are estimated anew need several values of each channel in a batch."
        with torch.no_grad(), explained('a loss that can be evaluated with batch_norm="re-estimated"', hint):
            here, there = (for_float64(blocks.losses(space.unflatten(w), 0)[0]).double().sum() for w in (w0, other))
        return here, bool(here != there)
    with torch.enable_grad():
        w = w0.clone().requires_grad_()
        total = for_float64(blocks.losses(space.unflatten(w), 0)[0]).double().sum()
        with explained("a loss that has a gradient", _GRAPH_HINT):
            slope = (
                torch.autograd.grad(total, w, allow_unused=True, retain_graph=True)[0] if total.requires_grad else None
            )
        used = slope is not None
        if isinstance(blocks, ClosureLosses) and slope is not None:
            warn_of_nonlinear_backward(total, w, slope, type(blocks.model).__name__)
    return total.detach(), used
