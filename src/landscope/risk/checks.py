"""Checks of the model, the criterion and the data of a risk; each check raises an error."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscope._checks import for_float64
from landscope.errors import InputError, NondeterministicLossError
from landscope.parameters import ParameterSpace
from landscope.risk.batch_norm import ReestimatedLosses
from landscope.risk.data import Block, call_model, fits
from landscope.risk.evaluation import BlockLosses
from landscope.risk.losses import SampleLosses, Unreduced

__all__ = ["check_criterion", "check_inputs", "check_labels", "check_losses", "check_mean"]

_IGNORED = -100
_PROBED = 32


def check_inputs(model: nn.Module, inputs: Any) -> None:
    """Raise if the model does not accept the keys of a batch; its own error would only mention wrong types."""
    wanted = list(inspect.signature(model.forward).parameters)
    if isinstance(inputs, Mapping) and not fits(model, (), inputs) and (len(wanted) != 1 or wanted[0] in inputs):
        raise InputError(
            expected=f"batches with the arguments of {type(model).__name__}.forward: {', '.join(wanted)}",
            got=", ".join(map(str, inputs)),
            hint="Rename or remove keys, or use EmpiricalRisk.from_closure(model, batch_losses, data).",
        )


@torch.no_grad()
def check_labels(model: nn.Module, pairs: Sequence[Block]) -> None:
    """Raise if a label has no output; the evaluation would only say "index out of range"."""
    labels = [targets for _, targets in pairs if isinstance(targets, Tensor) and not targets.is_floating_point()]
    negative = {label for targets in labels for label in targets[targets < 0].unique().tolist()} - {_IGNORED}
    if negative:
        raise InputError(
            expected=f"labels of at least 0, or {_IGNORED} for ignored targets", got=f"label {min(negative)}",
            hint="Check the labels.",
        )  # fmt: skip
    if not isinstance(pairs[0][0], Tensor):
        return
    with torch.random.fork_rng(devices=[]):
        logits = model(copy.deepcopy(pairs[0][0][:1]))
    largest = max((int(targets.max()) for targets in labels if targets.numel()), default=0)
    if isinstance(logits, Tensor) and logits.ndim == 2 and largest >= logits.shape[1]:
        raise InputError(
            expected=f"labels from 0 to {logits.shape[1] - 1}, one for each output",
            got=f"label {largest}",
            hint="Check the labels, or use a model with an output for each class.",
        )


@torch.no_grad()
def check_criterion(model: nn.Module, sample_losses: SampleLosses, block: Block) -> None:
    """Raise if the criterion does not accept the outputs of the model; an error of the model itself is not changed."""
    with torch.random.fork_rng(devices=[]):
        outputs, targets = _few_outputs(model, *block, slice(0, _PROBED))
    try:
        sample_losses(outputs, targets)
    except InputError:
        raise
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            expected=f"a criterion for outputs {_described(outputs)} with targets {_described(targets)}",
            got=f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}",
            hint="Check the shape and the dtype of the targets; class labels are integers.",
        ) from error


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{list(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    return f"of type {type(value).__name__}"


@torch.no_grad()
def check_mean(model: nn.Module, sample_losses: SampleLosses, pairs: Sequence[Block]) -> None:
    """Raise if a criterion returns one number for a batch that is not the mean over its samples.

    A sum, or a mean without ignored targets, would get wrong weights over batches. The test compares the values for the
    first samples, for the last samples, and for both together.
    """
    if not isinstance(sample_losses, Unreduced) or not all(isinstance(targets, Tensor) for _, targets in pairs):
        return
    with torch.random.fork_rng(devices=[]):
        most = _PROBED if len(pairs) > 1 else min(_PROBED, max(1, len(pairs[0][1]) // 2))
        ends = [_few_outputs(model, *pairs[0], slice(0, most)), _few_outputs(model, *pairs[-1], slice(-most, None))]
        if not all(isinstance(outputs, Tensor) and outputs.ndim for outputs, _ in ends):
            return
        if len({(outputs.shape[1:], targets.shape[1:]) for outputs, targets in ends}) > 1:
            return
        together = (torch.cat([outputs for outputs, _ in ends]), torch.cat([targets for _, targets in ends]))
        first, second, both = (sample_losses.as_mean(*part) for part in (*ends, together))
    if first is None or second is None or both is None:
        return
    share = len(ends[0][1]) / len(together[1])
    expected = share * first + (1 - share) * second
    if math.isfinite(both) and not math.isclose(expected, both, rel_tol=1e-3, abs_tol=1e-12):
        raise InputError(
            expected="a criterion that returns the mean over the samples of a batch",
            got=f"{both:.4g} for samples with a mean of {expected:.4g}",
            hint="Return one loss for each sample, or (losses, weight): losses and the number of samples in them.",
        )


def _few_outputs(model: nn.Module, inputs: Any, targets: Any, rows: slice) -> tuple[Any, Any]:
    if isinstance(inputs, Tensor) and isinstance(targets, Tensor):
        inputs, targets = inputs[rows], targets[rows]
    return call_model(model, copy.deepcopy(inputs)), targets


def check_losses(blocks: BlockLosses, space: ParameterSpace, w0: Tensor) -> None:
    """Raise if the loss does not depend on the weights, or changes between two equal calls."""
    with torch.random.fork_rng(devices=[]):
        total, depends = _first_block(blocks, space, w0)
        with torch.no_grad():
            again = for_float64(blocks.losses(space.unflatten(w0), 0)[0]).double().sum()
    if not depends:
        raise InputError(
            expected=f"a loss that depends on {', '.join(space.names)}",
            got="a loss that does not depend on them",
            hint="Select parameters that change the output. A closure must use the model in its argument. A replaced "
            "forward, as by model.forward = torch.compile(model.forward), still calls the original model: remove it.",
        )
    if not torch.allclose(total, again, rtol=1e-6, atol=0, equal_nan=True):
        raise NondeterministicLossError(
            expected="the same loss at the same weights in eval mode",
            got=f"{float(total):.9g}, then {float(again):.9g}",
            hint="Switch off every source of random numbers in eval mode (dropout, sampling, augmentation).",
        )


def _first_block(blocks: BlockLosses, space: ParameterSpace, w0: Tensor) -> tuple[Tensor, bool]:
    """The loss of the first block at w0, and whether it depends on the weights."""
    if isinstance(blocks, ReestimatedLosses):  # it has no derivatives: compare with another point
        other = w0 * torch.rand(space.dim, generator=torch.Generator().manual_seed(0)).to(w0) + 1e-3
        with torch.no_grad():
            here, there = (for_float64(blocks.losses(space.unflatten(w), 0)[0]).double().sum() for w in (w0, other))
        return here, bool(here != there)
    with torch.enable_grad():
        w = w0.clone().requires_grad_()
        total = for_float64(blocks.losses(space.unflatten(w), 0)[0]).double().sum()
        used = total.requires_grad and torch.autograd.grad(total, w, allow_unused=True)[0] is not None
    return total.detach(), used
