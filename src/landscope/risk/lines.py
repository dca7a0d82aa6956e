"""Walking lines through a traced model: only what a step along the line changes is computed again."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from landscope.parameters import ParameterSpace
from landscope.risk.evaluation import TracedLosses, replica
from landscope.risk.losses import cross_entropy_class_major
from landscope.risk.tracing import affine_shift, substituted_call
from landscope.threads import one_thread
from landscope.walking import DifferentiableLines

__all__ = ["TracedLines"]

_MAX_GROUP = 16
"""Directions walked together: they share each pass over the data, and their pre-activations must stay near."""

Preactivations = tuple[Tensor, ...]
"""Outputs of the affine nodes for one block of data."""


class TracedLines(DifferentiableLines):
    """Losses ``L(w0 + d p_i)`` from the frontier of a traced model.

    Along a line an affine node gives ``a0 + d q_i``; ``a0`` is computed once, ``q_i`` once a direction, and both are
    kept as far as the memory limit allows. Blocks of data are shared out over threads; their sums are added in
    the order of the blocks, so the answer does not depend on the number of threads.

    Args:
        losses: The traced losses.
        space: The selected parameters.
        w0: Where the lines start.
        directions: Their directions.
        class_major: Whether the criterion is plain cross-entropy on labels, which has a faster layout.
        cache_bytes: Memory for pre-activations.
    """

    def __init__(
        self,
        losses: TracedLosses,
        space: ParameterSpace,
        w0: Tensor,
        directions: Tensor,
        *,
        class_major: bool,
        cache_bytes: int,
    ) -> None:
        self._course = course = _Course(losses, space, w0, directions, class_major)
        bytes_each = _preactivation_bytes(course)
        room = cache_bytes // max(bytes_each, 1) - 1  # one place is for a0
        self.group = min(_MAX_GROUP, room) if room >= 1 else _MAX_GROUP
        self._kept = _Kept(losses.n_blocks, self.group if room >= 1 else 0)
        self._walkers = [_Walker(course, self._kept) for _ in range(min(torch.get_num_threads(), losses.n_blocks))]

    def __call__(self, index: Tensor, displacement: Tensor) -> Tensor:
        """``index[n], displacement[n] -> L[n]`` in float64."""
        sums = torch.zeros(self._course.losses.n_blocks, len(displacement), dtype=torch.float64)

        def add_up(block: int, point: int, losses: Tensor) -> None:
            sums[block, point] = losses.sum(dtype=torch.float64)

        weights = self._walk(index, displacement, add_up)
        return sums.sum(dim=0) / weights.sum()

    def losses(self, index: Tensor, displacement: Tensor) -> Tensor:
        """``index[n], displacement[n] -> losses[n, M]`` of every sample, in the order of the data."""
        starts = self._course.starts
        losses = torch.empty(len(displacement), starts[-1], dtype=self._course.w0.dtype)

        def keep(block: int, point: int, values: Tensor) -> None:
            losses[point, starts[block] : starts[block + 1]] = values

        self._walk(index, displacement, keep)
        return losses

    def pieces(self, directions: Sequence[int]) -> Iterator[Callable[..., Tensor]]:
        """For each block of data, its losses as a function of one step along each of ``directions``."""
        self._kept.make_room(set(directions))
        for block in range(self._course.losses.n_blocks):
            yield self._walkers[0].differentiable(block, directions)

    def slopes(self, index: Tensor, displacement: Tensor) -> tuple[Tensor, Tensor]:
        """Losses and their derivatives, see the base; small operations are faster on one thread."""
        with one_thread():
            return super().slopes(index, displacement)

    def curvatures(self, first: Tensor, second: Tensor) -> Tensor:
        """Mixed second derivatives, see the base."""
        with one_thread():
            return super().curvatures(first, second)

    def _walk(self, index: Tensor, displacement: Tensor, keep: Callable[[int, int, Tensor], None]) -> Tensor:
        """Hand the losses of every block at every point to ``keep``; return the weights of the blocks."""
        index = index.cpu()
        points = {int(i): (index == i).nonzero().flatten().tolist() for i in index.unique()}
        steps = displacement.tolist()
        self._kept.make_room(set(points))
        weights = torch.zeros(self._course.losses.n_blocks, dtype=torch.float64)

        def stripe(walker: _Walker, blocks: Sequence[int]) -> None:
            for block in blocks:
                weights[block] = walker.walk(
                    block, points, steps, lambda p, losses, block=block: keep(block, p, losses)
                )

        # Contiguous stripes: which block a thread takes must not matter, and neighbours share the cache.
        edges = [round(part * len(weights) / len(self._walkers)) for part in range(len(self._walkers) + 1)]
        stripes = [range(first, last) for first, last in itertools.pairwise(edges)]
        _run_side_by_side([lambda w=w, s=s: stripe(w, s) for w, s in zip(self._walkers, stripes, strict=True)])
        return weights


@dataclasses.dataclass(frozen=True)
class _Course:
    """What is walked."""

    losses: TracedLosses
    space: ParameterSpace
    w0: Tensor
    directions: Tensor
    class_major: bool

    @property
    def transposed(self) -> bool:
        """Whether the pre-activations are the logits themselves, to be kept as ``[classes, b]``."""
        return self.class_major and self.losses.split.output_is_affine

    @functools.cached_property
    def starts(self) -> list[int]:
        """Where the samples of each block begin, and where the last one ends."""
        return [0, *itertools.accumulate(len(targets) for _, targets in self.losses.blocks)]


class _Kept:
    """Pre-activations by block: those of w0, and those of as many directions as there is room for."""

    def __init__(self, n_blocks: int, room: int) -> None:
        self._n_blocks, self._room = n_blocks, room
        self._base: list[Preactivations | None] = [None] * n_blocks
        self._shifts: dict[int, list[Preactivations | None]] = {}

    def make_room(self, wanted: set[int]) -> None:
        """Forget other directions where there is no room for these and them."""
        if self._room and len(self._shifts.keys() | wanted) > self._room:
            self._shifts = {i: shift for i, shift in self._shifts.items() if i in wanted}
        for i in wanted if self._room else ():
            self._shifts.setdefault(i, [None] * self._n_blocks)

    def base(self, block: int, compute: Callable[[], Preactivations]) -> Preactivations:
        """Those of w0."""
        return self._from(self._base if self._room else None, block, compute)

    def shift(self, direction: int, block: int, compute: Callable[[], Preactivations]) -> Preactivations:
        """Those of a direction."""
        return self._from(self._shifts.get(direction), block, compute)

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


def _preactivation_bytes(course: _Course) -> int:
    """Memory of the pre-activations of all data along one direction."""
    with torch.no_grad(), one_thread():
        first = _Walker(course, _Kept(course.losses.n_blocks, 0)).base(0)
    samples = sum(len(targets) for _, targets in course.losses.blocks)
    return sum(tensor.nbytes for tensor in first) * samples // len(course.losses.blocks[0][1])


def _run_side_by_side(tasks: list[Callable[[], None]]) -> None:
    """Run tasks in threads, each operation on one thread; torch's own setting comes back."""
    with one_thread():
        if len(tasks) == 1:
            tasks[0]()
            return
        with ThreadPoolExecutor(len(tasks), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for done in [pool.submit(task) for task in tasks]:
                done.result()


class _Walker:
    """One thread's hands: module objects of its own on shared tensors."""

    def __init__(self, course: _Course, kept: _Kept) -> None:
        self._course, self._kept, self._split = course, kept, course.losses.split
        self._affine = [dataclasses.replace(node, module=replica(node.module)) for node in self._split.affine]
        self._tail = replica(self._split.tail)

    @torch.no_grad()
    def walk(
        self, block: int, points: dict[int, list[int]], steps: list[float], keep: Callable[[int, Tensor], None]
    ) -> float:
        """Hand the losses of one block at each point to ``keep``; return the weight of the block."""
        base, weight = self._kept.base(block, lambda: self.base(block)), 0.0
        rest = self._rest(block)
        targets = self._course.losses.blocks[block][1]
        for direction, positions in points.items():
            shift = self.shift(direction, block)
            for position in positions:
                moved = [torch.add(a, q, alpha=steps[position]) for a, q in zip(base, shift, strict=True)]
                parameters = self._parameters(direction, steps[position])
                losses, weight = self._losses(moved, rest, parameters, targets)
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
        return tuple(self._laid_out(output) for output in outputs)

    def shift(self, direction: int, block: int) -> Preactivations:
        """What one unit along a direction adds to them."""
        return self._kept.shift(direction, block, lambda: self._shift(direction, block))

    def _shift(self, direction: int, block: int) -> Preactivations:
        parameters = self._course.space.unflatten(self._course.directions[direction])
        values = self._course.losses.frontier(block)
        return tuple(self._laid_out(affine_shift(node, parameters, values)) for node in self._affine)

    def _laid_out(self, preactivation: Tensor) -> Tensor:
        return preactivation.T.contiguous() if self._course.transposed else preactivation

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
            moved = [a.T for a in moved] if course.transposed else moved
            w = course.w0 + sum(step.to(line) * line for step, line in zip(steps, lines, strict=True))
            parameters = course.space.unflatten(w) if self._split.tail_names else {}
            hidden = substituted_call(self._tail, self._split.tail_names, parameters, [*moved, *self._rest(block)])
            outputs = hidden if self._split.head is None else self._split.head(hidden)
            return course.losses.sample_losses(outputs, course.losses.blocks[block][1])[0]

        return losses

    def _losses(
        self, moved: list[Tensor], rest: list[Any], parameters: dict[str, Tensor], targets: Any
    ) -> tuple[Tensor, Tensor | float]:
        """Losses and weight of a block from the moved pre-activations on."""
        if self._course.transposed:
            return cross_entropy_class_major(moved[0], targets[None]), float(len(targets))
        hidden = substituted_call(self._tail, self._split.tail_names, parameters, [*moved, *rest])
        head = self._split.head
        if head is not None and self._course.class_major and hidden.ndim == 2:
            logits = head.weight @ hidden.T
            if head.bias is not None:
                logits += head.bias[:, None]
            return cross_entropy_class_major(logits, targets[None]), float(len(targets))
        return self._course.losses.sample_losses(hidden if head is None else head(hidden), targets)
