"""Losses of a block of data along lines, computed from its shifted pre-activations."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from landscope.parameters import ParameterSpace
from landscope.read_numbers import read_numbers
from landscope.risk.evaluation import TracedLosses, replica
from landscope.risk.losses import cross_entropy_of_margins, margins_of, smooth_cross_entropy_of_margins
from landscope.risk.tracing import affine_shift, in_place, substituted_call

__all__ = ["Line", "LineProblem", "PreactivationCache", "LineEvaluator"]

Preactivations = tuple[Tensor, ...]
"""The outputs of the affine nodes for one block of data."""


class Line(NamedTuple):
    """A line along a direction, from w0 or, in a plane, from w0 moved by ``offset`` along the direction ``across``."""

    direction: int
    across: int | None = None
    offset: float = 0.0


@dataclasses.dataclass(frozen=True)
class LineProblem:
    """The losses and the lines along which they are evaluated."""

    losses: TracedLosses
    space: ParameterSpace
    w0: Tensor
    directions: Tensor
    class_major: bool

    @property
    def on_margins(self) -> bool:
        """Whether the pre-activations are the logits, which are then stored as margins ``[classes, b]``."""
        return self.class_major and self.losses.split.output_is_affine

    @functools.cached_property
    def starts(self) -> list[int]:
        """Index of the first sample of each block, and the number of samples."""
        return [0, *itertools.accumulate(self.losses.sizes)]

    @functools.cached_property
    def labels(self) -> list[Tensor | int]:
        """The labels of each block: one number if all its samples have the same label."""
        targets = [targets for _, targets in self.losses.blocks]
        numbers = read_numbers([number for block in targets for number in (block[0], (block == block[0]).all())])
        firsts = zip(numbers[::2], numbers[1::2], targets, strict=True)
        return [int(first) if is_only else block for first, is_only, block in firsts]


class PreactivationCache:
    """Pre-activations of each block at w0, and their shifts along a limited number of directions."""

    def __init__(self, n_blocks: int, room: int) -> None:
        self._n_blocks, self._room = n_blocks, room
        self._known: dict[int | None, list[Preactivations | None]] = {None: [None] * n_blocks} if room else {}
        self._spare: list[list[Preactivations]] = [[] for _ in range(n_blocks)]

    def make_room(self, wanted: set[int]) -> None:
        """Make room for the wanted directions: drop other directions if necessary, and reuse their memory."""
        if not self._room:
            return
        known = self._known.keys() - {None}
        for i in known - wanted if len(known | wanted) > self._room else ():
            for spare, shift in zip(self._spare, self._known.pop(i), strict=True):
                if shift is not None:
                    spare.append(shift)
        for i in sorted(wanted)[: self._room]:
            self._known.setdefault(i, [None] * self._n_blocks)

    def get(
        self, direction: int | None, block: int, compute: Callable[[Preactivations | None], Preactivations]
    ) -> Preactivations:
        """The shift along a direction, or for None the pre-activations at w0.

        ``compute`` makes them where they are not known; it may overwrite the tensors that it receives, if any.
        """
        places = self._known.get(direction)
        if places is None:
            return compute(None)
        value = places[block]
        if value is None:
            value = places[block] = compute(None if direction is None else self._unused(block))
        return value

    def _unused(self, block: int) -> Preactivations | None:
        try:
            return self._spare[block].pop()
        except IndexError:
            return None


class LineEvaluator:
    """The evaluation in one thread, with its own module objects and buffers on shared tensors."""

    def __init__(self, problem: LineProblem, cache: PreactivationCache) -> None:
        self._problem, self.cache, self._split = problem, cache, problem.losses.split
        self._affine = [dataclasses.replace(node, module=replica(node.module)) for node in self._split.affine]
        self._tail = replica(self._split.tail)
        self._tail_in_place = in_place(self._tail, n_overwritable=len(self._affine))
        self._buffers: dict[tuple[str, int], Tensor] = {}
        self._heads: dict[int, tuple[Tensor, Tensor | None]] = {}

    @torch.no_grad()
    def evaluate(
        self, block: int, points: dict[Line, list[int]], steps: list[float], keep: Callable[[int, Tensor], None]
    ) -> Tensor | float:
        """Pass the losses of one block at each point to ``keep``, which must read them at once; return their weight."""
        base, weight = self.base(block), 0.0
        rest = self._rest(block)
        # All points use the same buffers, because an allocation takes longer than a sum.
        shifted = [self._buffer("shifted", node, a) for node, a in enumerate(base)]
        for line, positions in points.items():
            start, shift = self._start(line, block, base), self.shift(line.direction, block)
            for position in positions:
                for a, q, into in zip(start, shift, shifted, strict=True):
                    torch.add(a, q, alpha=steps[position], out=into)
                losses, weight = self._losses(block, shifted, rest, self._parameters(line, steps[position]))
                keep(position, losses)
        return weight.sum() if isinstance(weight, Tensor) else weight

    def _start(self, line: Line, block: int, base: Preactivations) -> Preactivations:
        """The outputs of the affine nodes at the start of a line."""
        if line.across is None:
            return base
        start = tuple(self._buffer("start", node, a) for node, a in enumerate(base))
        for a, q, into in zip(base, self.shift(line.across, block), start, strict=True):
            torch.add(a, q, alpha=line.offset, out=into)
        return start

    def base(self, block: int) -> Preactivations:
        """The outputs of the affine nodes at w0."""
        return self.cache.get(None, block, lambda _: self._base(block))

    def _base(self, block: int) -> Preactivations:
        parameters = self._problem.space.unflatten(self._problem.w0)
        values = self._problem.losses.prefix_outputs(block)
        outputs = (
            substituted_call(node.module, node.selected, parameters, [values[i] for i in node.inputs])
            for node in self._affine
        )
        return tuple(self._laid_out(output, block) for output in outputs)

    def shift(self, direction: int, block: int) -> Preactivations:
        """The change of these outputs by one unit along a direction."""
        return self.cache.get(direction, block, lambda spare: self._shift(direction, block, spare))

    def _shift(self, direction: int, block: int, spare: Preactivations | None) -> Preactivations:
        parameters = self._problem.space.unflatten(self._problem.directions[direction])
        values = self._problem.losses.prefix_outputs(block)
        places = spare or [None] * len(self._affine)
        return tuple(
            self._laid_out(affine_shift(node, parameters, values, out=out), block)
            for node, out in zip(self._affine, places, strict=True)
        )

    def _laid_out(self, preactivation: Tensor, block: int) -> Tensor:
        """A contiguous layout, with margins instead of logits if possible: margins are linear in the logits."""
        if not self._problem.on_margins:
            return preactivation.contiguous()
        logits, targets = preactivation.T.contiguous(), self._problem.labels[block]
        if isinstance(targets, int):
            return margins_of(logits, targets)
        return logits - logits.gather(0, targets[None])

    def _buffer(self, use: str, node: int, like: Tensor) -> Tensor:
        buffer = self._buffers.get((use, node))
        if buffer is None or buffer.numel() < like.numel():
            buffer = self._buffers[use, node] = torch.empty(like.numel(), dtype=like.dtype, device=like.device)
        return buffer[: like.numel()].view(like.shape)

    def _parameters(self, line: Line, step: float) -> dict[str, Tensor]:
        """The selected parameters at this point, if the tail reads them."""
        if not self._split.tail_names:
            return {}
        directions = self._problem.directions
        start = self._problem.w0 if line.across is None else self._problem.w0 + line.offset * directions[line.across]
        return self._problem.space.unflatten(start + step * directions[line.direction])

    def _rest(self, block: int) -> list[Any]:
        """The prefix outputs that the tail reads."""
        values = self._problem.losses.prefix_outputs(block)
        return [values[position] for position in self._split.tail_inputs]

    def differentiable(self, block: int, directions: Sequence[int]) -> Callable[..., Tensor]:
        """The losses of a block as a differentiable function of steps along a few directions."""
        problem = self._problem
        with torch.no_grad():
            base = self.base(block)
            shifts = [self.shift(direction, block) for direction in directions]
        lines = problem.directions[list(directions)]

        def losses(*steps: Tensor) -> Tensor:
            shifted = [
                a + sum(step.to(a) * shift[part] for step, shift in zip(steps, shifts, strict=True))
                for part, a in enumerate(base)
            ]
            if problem.on_margins:
                return smooth_cross_entropy_of_margins(self._wrong(block, shifted[0]))
            w = problem.w0 + sum(step.to(line) * line for step, line in zip(steps, lines, strict=True))
            parameters = problem.space.unflatten(w) if self._split.tail_names else {}
            hidden = substituted_call(self._tail, self._split.tail_names, parameters, [*shifted, *self._rest(block)])
            outputs = hidden if self._split.head is None else self._split.head(hidden)
            return problem.losses.sample_losses(outputs, problem.losses.blocks[block][1])[0]

        return losses

    def _losses(
        self, block: int, shifted: list[Tensor], rest: list[Any], parameters: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor | float]:
        """Losses and weight of a block, from its shifted pre-activations."""
        problem, head = self._problem, self._split.head
        if problem.on_margins:
            return cross_entropy_of_margins(self._wrong(block, shifted[0])), float(shifted[0].shape[1])
        hidden = substituted_call(self._tail_in_place, self._split.tail_names, parameters, [*shifted, *rest])
        if head is not None and problem.class_major and hidden.ndim == 2:
            return cross_entropy_of_margins(self._margins(head, hidden, block)), float(len(hidden))
        return problem.losses.sample_losses(hidden if head is None else head(hidden), problem.losses.blocks[block][1])

    def _wrong(self, block: int, margins: Tensor) -> Tensor:
        """The margins of the wrong classes."""
        targets = self._problem.labels[block]
        return margins if isinstance(targets, int) else margins.scatter(0, targets[None], -torch.inf)

    def _margins(self, head: nn.Linear, hidden: Tensor, block: int) -> Tensor:
        """Margins from the inputs of the head; if all samples have one label, the weights are already differences."""
        targets = self._problem.labels[block]
        if isinstance(targets, int):
            weight, bias = self._head_over(head, targets)
        else:
            weight, bias = head.weight, None if head.bias is None else head.bias[:, None]
        logits = weight @ hidden.T if bias is None else torch.addmm(bias, weight, hidden.T)
        return logits if isinstance(targets, int) else margins_of(logits, targets)

    def _head_over(self, head: nn.Linear, label: int) -> tuple[Tensor, Tensor | None]:
        if label not in self._heads:
            bias = None if head.bias is None else margins_of(head.bias[:, None], label)
            self._heads[label] = margins_of(head.weight, label), bias
        return self._heads[label]
