"""The hands that walk lines: losses of a block of data from its moved pre-activations on."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscope.parameters import ParameterSpace
from landscope.risk.evaluation import TracedLosses, replica
from landscope.risk.losses import cross_entropy_of_margins, margins_of, smooth_cross_entropy_of_margins
from landscope.risk.tracing import affine_shift, in_place, substituted_call

__all__ = ["Course", "Kept", "Walker"]

Preactivations = tuple[Tensor, ...]
"""Outputs of the affine nodes for one block of data."""


@dataclasses.dataclass(frozen=True)
class Course:
    """What is walked."""

    losses: TracedLosses
    space: ParameterSpace
    w0: Tensor
    directions: Tensor
    class_major: bool

    @property
    def on_margins(self) -> bool:
        """Whether the pre-activations are the logits themselves, to be kept as margins ``[classes, b]``."""
        return self.class_major and self.losses.split.output_is_affine

    @functools.cached_property
    def starts(self) -> list[int]:
        """Where the samples of each block begin, and where the last one ends."""
        return [0, *itertools.accumulate(self.losses.sizes)]

    @functools.cached_property
    def labels(self) -> list[Tensor | int]:
        """The right classes of each block: one number where all its samples share it."""
        targets = [targets for _, targets in self.losses.blocks]
        return [int(block[0]) if bool((block == block[0]).all()) else block for block in targets]


class Kept:
    """Pre-activations by block: those of w0, and those of as many directions as there is room for."""

    def __init__(self, n_blocks: int, room: int) -> None:
        self._n_blocks, self._room = n_blocks, room
        self._base: list[Preactivations | None] = [None] * n_blocks
        self._shifts: dict[int, list[Preactivations | None]] = {}
        self._spare: list[list[Preactivations]] = [[] for _ in range(n_blocks)]

    def make_room(self, wanted: set[int]) -> None:
        """Forget other directions where there is no room for these and them; their memory is used again."""
        if self._room and len(self._shifts.keys() | wanted) > self._room:
            for i in self._shifts.keys() - wanted:
                for spare, shift in zip(self._spare, self._shifts.pop(i), strict=True):
                    if shift is not None:
                        spare.append(shift)
        for i in wanted if self._room else ():
            self._shifts.setdefault(i, [None] * self._n_blocks)

    def base(self, block: int, compute: Callable[[], Preactivations]) -> Preactivations:
        """Those of w0."""
        return self._from(self._base if self._room else None, block, compute)

    def shift(
        self, direction: int, block: int, compute: Callable[[Preactivations | None], Preactivations]
    ) -> Preactivations:
        """Those of a direction; ``compute`` is given tensors of no further use, to write into where they fit."""
        return self._from(self._shifts.get(direction), block, lambda: compute(self._unused(block)))

    def _unused(self, block: int) -> Preactivations | None:
        try:
            return self._spare[block].pop()
        except IndexError:
            return None

    @staticmethod
    def _from(
        places: list[Preactivations | None] | None, block: int, compute: Callable[[], Preactivations]
    ) -> Preactivations:
        if places is None:
            return compute()
        known = places[block]
        if known is None:
            known = places[block] = compute()
        return known


class Walker:
    """One thread's hands: module objects and buffers of its own, on shared tensors."""

    def __init__(self, course: Course, kept: Kept) -> None:
        self._course, self._kept, self._split = course, kept, course.losses.split
        self._affine = [dataclasses.replace(node, module=replica(node.module)) for node in self._split.affine]
        self._tail = replica(self._split.tail)
        self._tail_in_place = in_place(self._tail, n_own=len(self._affine))
        self._buffers: dict[int, Tensor] = {}
        self._heads: dict[int, tuple[Tensor, Tensor | None]] = {}

    @torch.no_grad()
    def walk(
        self, block: int, points: dict[int, list[int]], steps: list[float], keep: Callable[[int, Tensor], None]
    ) -> float:
        """Hand the losses of one block at each point to ``keep``, read at once; return the weight of the block."""
        base, weight = self._kept.base(block, lambda: self.base(block)), 0.0
        rest = self._rest(block)
        # Buffers that every point uses again: fresh memory costs more than a sum.
        moved = [self._buffer(node, a) for node, a in enumerate(base)]
        for direction, positions in points.items():
            shift = self.shift(direction, block)
            for position in positions:
                for a, q, into in zip(base, shift, moved, strict=True):
                    torch.add(a, q, alpha=steps[position], out=into)
                losses, weight = self._losses(block, moved, rest, self._parameters(direction, steps[position]))
                keep(position, losses)
        return float(weight)

    def base(self, block: int) -> Preactivations:
        """Outputs of the affine nodes at w0."""
        parameters = self._course.space.unflatten(self._course.w0)
        values = self._course.losses.frontier(block)
        outputs = (
            substituted_call(node.module, node.selected, parameters, [values[i] for i in node.inputs])
            for node in self._affine
        )
        return tuple(self._laid_out(output, block) for output in outputs)

    def shift(self, direction: int, block: int) -> Preactivations:
        """What one unit along a direction adds to them."""
        return self._kept.shift(direction, block, lambda spare: self._shift(direction, block, spare))

    def _shift(self, direction: int, block: int, spare: Preactivations | None) -> Preactivations:
        parameters = self._course.space.unflatten(self._course.directions[direction])
        values = self._course.losses.frontier(block)
        places = spare or [None] * len(self._affine)
        return tuple(
            self._laid_out(affine_shift(node, parameters, values, out=out), block)
            for node, out in zip(self._affine, places, strict=True)
        )

    def _laid_out(self, preactivation: Tensor, block: int) -> Tensor:
        """Contiguous; margins instead of logits, as differences of margins are margins again."""
        if not self._course.on_margins:
            return preactivation.contiguous()
        logits, targets = preactivation.T.contiguous(), self._course.labels[block]
        if isinstance(targets, int):
            return margins_of(logits, targets)
        return logits - logits.gather(0, targets[None])

    def _buffer(self, node: int, like: Tensor) -> Tensor:
        held = self._buffers.get(node)
        if held is None or held.numel() < like.numel():
            held = self._buffers[node] = torch.empty(like.numel(), dtype=like.dtype, device=like.device)
        return held[: like.numel()].view(like.shape)

    def _parameters(self, direction: int, step: float) -> dict[str, Tensor]:
        """Where the tail reads selected parameters: what they are at this point."""
        if not self._split.tail_names:
            return {}
        return self._course.space.unflatten(self._course.w0 + step * self._course.directions[direction])

    def _rest(self, block: int) -> list[Any]:
        """The frontier values that the tail reads."""
        values = self._course.losses.frontier(block)
        return [values[position] for position in self._split.tail_inputs]

    def differentiable(self, block: int, directions: Sequence[int]) -> Callable[..., Tensor]:
        """The losses of a block as a function of steps along a few directions, to be differentiated by torch."""
        course = self._course
        with torch.no_grad():
            base = self._kept.base(block, lambda: self.base(block))
            shifts = [self.shift(direction, block) for direction in directions]
        lines = course.directions[list(directions)]

        def losses(*steps: Tensor) -> Tensor:
            moved = [
                a + sum(step.to(a) * shift[part] for step, shift in zip(steps, shifts, strict=True))
                for part, a in enumerate(base)
            ]
            if course.on_margins:
                return smooth_cross_entropy_of_margins(self._wrong(block, moved[0]))
            w = course.w0 + sum(step.to(line) * line for step, line in zip(steps, lines, strict=True))
            parameters = course.space.unflatten(w) if self._split.tail_names else {}
            hidden = substituted_call(self._tail, self._split.tail_names, parameters, [*moved, *self._rest(block)])
            outputs = hidden if self._split.head is None else self._split.head(hidden)
            return course.losses.sample_losses(outputs, course.losses.blocks[block][1])[0]

        return losses

    def _losses(
        self, block: int, moved: list[Tensor], rest: list[Any], parameters: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor | float]:
        """Losses and weight of a block from the moved pre-activations on."""
        course, head = self._course, self._split.head
        if course.on_margins:
            return cross_entropy_of_margins(self._wrong(block, moved[0])), float(moved[0].shape[1])
        hidden = substituted_call(self._tail_in_place, self._split.tail_names, parameters, [*moved, *rest])
        if head is not None and course.class_major and hidden.ndim == 2:
            return cross_entropy_of_margins(self._margins(head, hidden, block)), float(len(hidden))
        return course.losses.sample_losses(hidden if head is None else head(hidden), course.losses.blocks[block][1])

    def _wrong(self, block: int, margins: Tensor) -> Tensor:
        """Margins without those of the right class over itself."""
        targets = self._course.labels[block]
        return margins if isinstance(targets, int) else margins.scatter(0, targets[None], -torch.inf)

    def _margins(self, head: nn.Linear, hidden: Tensor, block: int) -> Tensor:
        """Margins from what enters the head; where all samples share a label, its rows hold differences already."""
        targets = self._course.labels[block]
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
