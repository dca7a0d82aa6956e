"""Walking lines through a traced model: only what a step along the line changes is computed again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from landscope.parameters import ParameterSpace
from landscope.plain_lines import DifferentiableLines
from landscope.risk.evaluation import TracedLosses
from landscope.risk.walker import Course, Kept, Walker
from landscope.threads import one_thread

__all__ = ["TracedLines"]

_SHARED_BYTES = 2**18
"""Pre-activations a block from which on threads pay: below, Python's own lock is what they would wait for."""
_MAX_GROUP = 16
"""Directions walked together: they share each pass over the data, and their pre-activations must stay near."""
_SKETCHES = (
    {"enough": 0.999, "least": 0.99, "at_most": 0.25},
    {"enough": 0.9, "least": 0.5, "at_most": 0.5},
)
"""How much of the loss the samples of a sketch carry, and what part of all they may be; then of a sketch of it."""


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
        sketches: What a sketch holds, a sketch of that, and so on.
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
        sketches: Sequence[dict[str, float]] = _SKETCHES,
    ) -> None:
        self._sketches = sketches
        self._course = course = Course(losses, space, w0, directions, class_major)
        self._cache_bytes = cache_bytes
        bytes_each = _preactivation_bytes(course)
        room = cache_bytes // max(bytes_each, 1) - 1  # one place is for a0
        self.group = min(_MAX_GROUP, room) if room >= 1 else _MAX_GROUP
        self._kept = Kept(losses.n_blocks, self.group if room >= 1 else 0)
        worth_sharing = bytes_each >= _SHARED_BYTES * losses.n_blocks
        hands = min(torch.get_num_threads(), max(losses.n_blocks, self.group)) if worth_sharing else 1
        self._walkers = [Walker(course, self._kept) for _ in range(hands)]

    def __call__(self, index: Tensor, displacement: Tensor) -> Tensor:
        """``index[n], displacement[n] -> L[n]`` in float64."""
        sums = torch.zeros(self._course.losses.n_blocks, len(displacement), dtype=torch.float64)

        def add_up(block: int, point: int, losses: Tensor) -> None:
            sums[block, point] = losses.sum(dtype=torch.float64)

        weights = self._walk(index, displacement, add_up)
        total = torch.zeros(len(displacement), dtype=torch.float64)
        for of_block in sums:  # one after another: a sum of columns may take another order for the last of them
            total += of_block
        return total / weights.sum()

    def losses(self, index: Tensor, displacement: Tensor) -> Tensor:
        """``index[n], displacement[n] -> losses[n, M]`` of every sample, in the order of the data."""
        starts = self._course.starts
        losses = torch.empty(len(displacement), starts[-1], dtype=self._course.w0.dtype)

        def keep(block: int, point: int, values: Tensor) -> None:
            losses[point, starts[block] : starts[block + 1]] = values

        self._walk(index, displacement, keep)
        return self._course.losses.in_data_order(losses)

    def pieces(self, directions: Sequence[int]) -> Iterator[Callable[..., Tensor]]:
        """For each block of data, its losses as a function of one step along each of ``directions``.

        To be used before other directions are walked: what it holds is then written over.
        """
        self._kept.make_room(set(directions))
        for block in range(self._course.losses.n_blocks):
            yield self._walkers[0].differentiable(block, directions)

    def slopes(self, index: Tensor, displacement: Tensor) -> tuple[Tensor, Tensor]:
        """Losses and their derivatives, see the base; small operations are faster on one thread."""
        with one_thread():
            losses, slopes = super().slopes(index, displacement)
        return self._course.losses.in_data_order(losses), self._course.losses.in_data_order(slopes)

    def curvatures(self, first: Tensor, second: Tensor) -> Tensor:
        """Mixed second derivatives, see the base."""
        with one_thread():
            return self._course.losses.in_data_order(super().curvatures(first, second))

    def sketch(self) -> TracedLines | None:
        """Lines over the few samples that carry nearly all of the loss at w0, where few do; for guesses only."""
        course = self._course
        if not self._sketches:
            return None
        hard = course.losses.hardest(course.space.unflatten(course.w0), **self._sketches[0])
        if hard is None:
            return None
        return TracedLines(
            hard,
            course.space,
            course.w0,
            course.directions,
            class_major=course.class_major,
            cache_bytes=self._cache_bytes // 4,
            sketches=self._sketches[1:],
        )

    def _walk(self, index: Tensor, displacement: Tensor, keep: Callable[[int, int, Tensor], None]) -> Tensor:
        """Hand the losses of every block at every point to ``keep``; return the weights of the blocks."""
        index = index.cpu()
        points = {int(i): (index == i).nonzero().flatten().tolist() for i in index.unique()}
        steps = displacement.tolist()
        self._kept.make_room(set(points))
        weights = torch.zeros(self._course.losses.n_blocks, dtype=torch.float64)

        def walk(walker: Walker, blocks: Sequence[int], points: dict[int, list[int]]) -> None:
            for block in blocks:
                weights[block] = walker.walk(
                    block, points, steps, lambda p, losses, block=block: keep(block, p, losses)
                )

        _run_side_by_side(
            [
                lambda w=walker, b=blocks, p=part: walk(w, b, p)
                for walker, (blocks, part) in zip(self._walkers, self._shares(points), strict=False)
            ]
        )
        return weights

    def _shares(self, points: dict[int, list[int]]) -> list[tuple[Sequence[int], dict[int, list[int]]]]:
        """What each thread does: some blocks, or, where these are few, some directions. Whose turn must not matter."""
        blocks, directions = range(self._course.losses.n_blocks), list(points)
        hands = len(self._walkers)
        if len(blocks) >= min(hands, len(directions)):
            return [(part, points) for part in _stripes(blocks, min(hands, len(blocks)))]
        return [(blocks, {i: points[i] for i in part}) for part in _stripes(directions, min(hands, len(directions)))]


def _stripes(items: Sequence[int], count: int) -> list[Sequence[int]]:
    """Contiguous parts of nearly equal length: neighbours share the cache."""
    edges = [round(part * len(items) / count) for part in range(count + 1)]
    return [items[first:last] for first, last in itertools.pairwise(edges)]


def _preactivation_bytes(course: Course) -> int:
    """Memory of the pre-activations of all data along one direction."""
    with torch.no_grad(), one_thread():
        first = Walker(course, Kept(course.losses.n_blocks, 0)).base(0)
    sizes = course.losses.sizes
    return sum(tensor.nbytes for tensor in first) * sum(sizes) // sizes[0]


def _run_side_by_side(tasks: list[Callable[[], None]]) -> None:
    """Run tasks in threads, each operation on one thread; torch's own setting comes back."""
    with one_thread():
        if len(tasks) == 1:
            tasks[0]()
            return
        with ThreadPoolExecutor(len(tasks), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for done in [pool.submit(task) for task in tasks]:
                done.result()
