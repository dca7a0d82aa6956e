"""The fastest evaluation of a model on its data that gives the same losses as the whole model."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from landscope.errors import InputError
from landscope.parameters import ParameterSpace
from landscope.risk.closure_module import ClosureModule
from landscope.risk.data import Block, are_classes, call_model, cut_blocks, cut_blocks_by_label
from landscope.risk.equal_gradients import OtherGradientError, check_same_gradient
from landscope.risk.evaluation import BlockLosses, TracedLosses
from landscope.risk.lines import TracedLines
from landscope.risk.losses import SampleLosses
from landscope.risk.prepared import PreparedData
from landscope.risk.stored_calls import check_equal, mean_loss, points_around
from landscope.risk.tracing import SplitModel, largest_tensor, split_model
from landscope.risk.untraced import SeveralInputsError, is_in_user_code, notice_whole_model, reason_in_words

__all__ = ["fastest_losses", "traced_lines"]

_BLOCK_ELEMENTS = 2**19
"""Number of elements in the prefix outputs of a block: about 2 MB in float32, near a second-level cache."""
_PROBE_ROWS = 64


def fastest_losses(
    found: PreparedData, space: ParameterSpace, user_model: nn.Module, *, class_major: bool, cache_bytes: int
) -> BlockLosses:
    """Losses from a traced model; else with stored calls of modules; else of the whole model, with a warning.

    Args:
        found: Model, criterion and data.
        space: Selected weights.
        user_model: The model of the user, which a notice is about.
        class_major: Whether the criterion is plain cross-entropy on labels.
        cache_bytes: Memory limit for stored activations.
    """
    w0 = space.flatten(found.model)
    if not found.can_trace:
        losses = found.whole()
        losses.store_calls(space, w0, cache_bytes)
        return losses
    try:
        return _traced(found, space, w0, class_major=class_major, cache_bytes=cache_bytes)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - tracing may fail in any manner; other evaluations remain
        untraced, is_user_code = reason_in_words(error), is_in_user_code(error, user_model)
    losses = found.whole()
    reason = losses.store_calls(space, w0, cache_bytes)
    if reason:
        notice_whole_model(user_model, untraced, reason, is_user_code=is_user_code)
    return losses


def _traced(
    found: PreparedData, space: ParameterSpace, w0: Tensor, *, class_major: bool, cache_bytes: int
) -> TracedLosses:
    model, sample_losses, pairs = found.model, found.sample_losses, found.pairs
    inputs, targets = cut_blocks(pairs, _PROBE_ROWS)[0]
    if not isinstance(inputs, Tensor):
        raise SeveralInputsError
    if any(part._backward_hooks or part._backward_pre_hooks for part in model.modules()):
        raise OtherGradientError
    split = split_model(model, space.names)
    lines_of = lambda losses, directions: traced_lines(  # noqa: E731
        losses, space, w0, directions, class_major=class_major, cache_bytes=cache_bytes
    )
    _check_split(model, split, sample_losses, (inputs, targets), space, w0, cache_bytes, lines_of)
    few = copy.deepcopy(inputs[:2])
    with torch.no_grad():
        largest = largest_tensor(split.suffix, split.prefix(few)) // max(1, len(few))
    rows = max(16, min(8192, _BLOCK_ELEMENTS // max(1, largest)))
    by_label = cut_blocks_by_label(pairs, rows) if class_major else None
    blocks, order = by_label or (cut_blocks(pairs, rows), None)
    return TracedLosses(split, sample_losses, blocks, cache_bytes // 2, order)


@torch.no_grad()
def _check_split(
    model: nn.Module,
    split: SplitModel,
    sample_losses: SampleLosses,
    block: Block,
    space: ParameterSpace,
    w0: Tensor,
    cache_bytes: int,
    lines_of: Callable[[TracedLosses, Tensor], TracedLines],
) -> None:
    """Compare the parts with the whole model, also at other weights.

    Tracing may freeze values by mistake, and it steps into a custom ``autograd.Function`` and loses its backward pass.
    """
    traced = TracedLosses(split, sample_losses, [block], cache_bytes // 2)
    points = points_around(space, w0)
    lines = lines_of(traced, points[0][1][None])
    versions = _versions(traced)
    whole_model = ClosureModule(model, call_model)

    def whole(parameters: dict[str, Tensor]) -> tuple[Tensor, Tensor | float]:
        return sample_losses(whole_model.with_parameters(parameters, copy.deepcopy(block[0])), block[1])

    for step, _, w in points:
        parameters = space.unflatten(w)
        expected = mean_loss(*whole(parameters))
        # Two points in one call: the first must not change the stored values that the second reads.
        along_line = lines(torch.zeros(2, dtype=torch.long), torch.tensor([step, step], dtype=torch.float64))
        for loss in (mean_loss(*traced.losses(parameters, 0)), *along_line):
            check_equal(loss, expected, w0.dtype)
    if versions != _versions(traced):
        raise RuntimeError("the model changes stored values in place")
    check_same_gradient(lambda parameters: traced.losses(parameters, 0), whole, space, points[1][2], is_traced=True)


def _versions(traced: TracedLosses) -> list[Any]:
    return [value._version for value in traced.prefix_outputs(0) if isinstance(value, Tensor)]


def traced_lines(
    losses: TracedLosses, space: ParameterSpace, w0: Tensor, directions: Tensor, *, class_major: bool, cache_bytes: int
) -> TracedLines:
    """Lines of traced losses, with the layout for labels where all targets are labels."""
    class_major = class_major and all(are_classes(targets) for _, targets in losses.blocks)
    return TracedLines(losses, space, w0, directions, class_major=class_major, cache_bytes=cache_bytes // 2)
