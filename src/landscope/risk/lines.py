"""Losses along lines of a traced model: each point computes only the values that change along the line."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from landscope._checks import device_with_float64, for_float64
from landscope.full_precision import in_full_precision
from landscope.parameters import ParameterSpace
from landscope.plain_lines import DifferentiableLines
from landscope.risk.evaluation import TracedLosses
from landscope.risk.line_evaluator import Line, LineEvaluator, LineProblem, PreactivationCache
from landscope.threads import one_thread

__all__ = ["TracedLines"]

_Item = TypeVar("_Item")

_SHARED_BYTES = 2**18
"""Bytes of pre-activations in a block from which on threads are faster; below, they wait for Python's lock."""
_MAX_GROUP = 16
"""Number of directions evaluated together: they share each pass over the data, and must fit into the cache."""
_SKETCHES = (
    {"share": 0.999, "min_share": 0.99, "max_fraction": 0.25},
    {"share": 0.9, "min_share": 0.5, "max_fraction": 0.5},
)
"""The choice of samples for a sketch, and for a sketch of that sketch."""


@in_full_precision
class TracedLines(DifferentiableLines):
    """Losses ``L(w0 + d p_i)`` from the prefix outputs of a traced model.

    Along a line the output of an affine node is ``a0 + d q_i``. Here ``a0`` is computed once and ``q_i`` once for each
    direction, and both are stored as far as the memory limit allows. Threads share the blocks of data. The sums of the
    blocks are added in order, so the result does not depend on the number of threads.

    Args:
        losses: Traced losses over the parameters in ``space``.
        class_major: Whether the criterion is plain cross-entropy on labels, which allows a faster layout.
        cache_bytes: Memory limit for pre-activations.
        sketches: Arguments of :meth:`TracedLosses.with_largest_losses` for the sketch, for its sketch, and so on.
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
        self._problem = problem = LineProblem(losses, space, w0, directions, class_major)
        self._cache_bytes = cache_bytes
        first = LineEvaluator(problem, PreactivationCache(losses.n_blocks, 0))
        bytes_each = _preactivation_bytes(problem, first)
        room = cache_bytes // max(bytes_each, 1) - 1  # one place stores a0
        self.group = min(_MAX_GROUP, room) if room >= 1 else _MAX_GROUP
        self._cache = PreactivationCache(losses.n_blocks, self.group if room >= 1 else 0)
        worth_sharing = bytes_each >= _SHARED_BYTES * losses.n_blocks
        n_threads = min(torch.get_num_threads(), max(losses.n_blocks, self.group)) if worth_sharing else 1
        first.cache = self._cache
        self._evaluators = [first, *(LineEvaluator(problem, self._cache) for _ in range(n_threads - 1))]

    def __call__(self, index: Tensor, displacement: Tensor) -> Tensor:
        """``index[n], displacement[n] -> L[n]`` in float64."""
        return self._means(_along(index), displacement)

    def plane(self, first: Tensor, second: Tensor) -> Tensor:
        """``first[n], second[n] -> L(w0 + first p_0 + second p_1)[n]`` in float64.

        Points with the same ``second`` share the sum of the pre-activations at w0 and their shift along p_1.
        """
        points: dict[Line, list[int]] = {}
        for position, offset in enumerate(second.tolist()):
            points.setdefault(Line(0, 1, offset), []).append(position)
        return self._means(points, first)

    def _means(self, points: dict[Line, list[int]], displacement: Tensor) -> Tensor:
        shape, device = (self._problem.losses.n_blocks, len(displacement)), self._summing_device
        sums = torch.zeros(shape, dtype=torch.float64, device=device)  # there until all are made: a copy waits for them

        def add_up(block: int, point: int, losses: Tensor) -> None:
            sums[block, point] = for_float64(losses).sum(dtype=torch.float64)

        weights = self._evaluate(points, displacement, add_up)
        on_host = torch.cat([sums, weights[:, None]], dim=1).cpu()
        total = torch.zeros(len(displacement), dtype=torch.float64)
        # One block after another, because a sum over an axis may change the order of the last terms.
        for block_sum in on_host[:, :-1]:
            total += block_sum
        return total / on_host[:, -1].contiguous().sum()

    def losses(self, index: Tensor, displacement: Tensor) -> Tensor:
        """``index[n], displacement[n] -> losses[n, M]`` of every sample, in the order of the data."""
        starts = self._problem.starts
        losses = torch.empty(len(displacement), starts[-1], dtype=self._problem.w0.dtype)

        def keep(block: int, point: int, values: Tensor) -> None:
            losses[point, starts[block] : starts[block + 1]] = values

        self._evaluate(_along(index), displacement, keep)
        return self._problem.losses.in_data_order(losses)

    def pieces(self, directions: Sequence[int]) -> Iterator[Callable[..., Tensor]]:
        """Yield for each block its losses as a function of one step along each of ``directions``.

        Use them before the next evaluation along other directions, which overwrites their pre-activations.
        """
        self._cache.make_room(set(directions))
        for block in range(self._problem.losses.n_blocks):
            yield self._evaluators[0].differentiable(block, directions)

    def slopes(self, index: Tensor, displacement: Tensor) -> tuple[Tensor, Tensor]:
        """The losses and their derivatives, on one thread, because small operations are then faster."""
        with one_thread():
            losses, slopes = super().slopes(index, displacement)
        return self._problem.losses.in_data_order(losses), self._problem.losses.in_data_order(slopes)

    def curvatures(self, first: Tensor, second: Tensor) -> Tensor:
        """Mixed second derivatives of the losses, on one thread."""
        with one_thread():
            return self._problem.losses.in_data_order(super().curvatures(first, second))

    def sketch(self) -> TracedLines | None:
        """Lines over the few samples that carry nearly all of the loss at w0, for guesses only; None if too few do."""
        problem = self._problem
        if not self._sketches:
            return None
        largest = problem.losses.with_largest_losses(problem.space.unflatten(problem.w0), **self._sketches[0])
        if largest is None:
            return None
        return TracedLines(
            largest,
            problem.space,
            problem.w0,
            problem.directions,
            class_major=problem.class_major,
            cache_bytes=self._cache_bytes // 4,
            sketches=self._sketches[1:],
        )

    def _evaluate(
        self, points: dict[Line, list[int]], displacement: Tensor, keep: Callable[[int, int, Tensor], None]
    ) -> Tensor:
        """Pass the losses of every block at every point to ``keep``, and return the weights of the blocks."""
        steps = displacement.tolist()
        self._cache.make_room({i for line in points for i in (line.direction, line.across) if i is not None})
        weights = torch.zeros(self._problem.losses.n_blocks, dtype=torch.float64, device=self._summing_device)

        def evaluate(evaluator: LineEvaluator, blocks: Sequence[int], points: dict[Line, list[int]]) -> None:
            for block in blocks:
                weights[block] = evaluator.evaluate(
                    block, points, steps, lambda p, losses, block=block: keep(block, p, losses)
                )

        _run_side_by_side(
            [
                lambda e=evaluator, b=blocks, p=part: evaluate(e, b, p)
                for evaluator, (blocks, part) in zip(self._evaluators, self._shares(points), strict=False)
            ]
        )
        return weights

    @property
    def _summing_device(self) -> torch.device:
        return device_with_float64(self._problem.w0.device)

    def _shares(self, points: dict[Line, list[int]]) -> list[tuple[Sequence[int], dict[Line, list[int]]]]:
        """The work of each thread: some blocks, or some lines if there are few blocks."""
        blocks, lines = range(self._problem.losses.n_blocks), list(points)
        n_threads = len(self._evaluators)
        if len(blocks) >= min(n_threads, len(lines)):
            return [(part, points) for part in _stripes(blocks, min(n_threads, len(blocks)))]
        return [(blocks, {line: points[line] for line in part}) for part in _stripes(lines, min(n_threads, len(lines)))]


def _along(index: Tensor) -> dict[Line, list[int]]:
    """The positions of the points of each line through w0."""
    index = index.cpu()
    return {Line(int(i)): (index == i).nonzero().flatten().tolist() for i in index.unique()}


def _stripes(items: Sequence[_Item], count: int) -> list[Sequence[_Item]]:
    """Cut into contiguous parts of nearly equal length, because neighbours share the cache."""
    edges = [round(part * len(items) / count) for part in range(count + 1)]
    return [items[first:last] for first, last in itertools.pairwise(edges)]


def _preactivation_bytes(problem: LineProblem, evaluator: LineEvaluator) -> int:
    """Bytes of the pre-activations of all data along one direction."""
    with torch.no_grad(), one_thread():
        first = evaluator.base(0)
    sizes = problem.losses.sizes
    return sum(tensor.nbytes for tensor in first) * sum(sizes) // sizes[0]


def _run_side_by_side(tasks: list[Callable[[], None]]) -> None:
    """Run tasks in threads, each operation on one thread, and restore torch's setting afterwards."""
    with one_thread():
        if len(tasks) == 1:
            tasks[0]()
            return
        with ThreadPoolExecutor(len(tasks), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for future in [pool.submit(task) for task in tasks]:
                future.result()
