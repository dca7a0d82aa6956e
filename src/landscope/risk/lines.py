"""Walking lines through a traced model: only what a step along the line changes is computed again."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from landscope.parameters import ParameterSpace
from landscope.risk.evaluation import TracedLosses, one_thread, replica
from landscope.risk.losses import cross_entropy_class_major
from landscope.risk.tracing import SplitModel, affine_shift, substituted_call

__all__ = ["TracedLines"]

_MAX_GROUP = 16


class TracedLines:
    """Losses ``L(w0 + d p_i)`` from the frontier of a traced model.

    Along a line an affine node gives ``a0 + d q_i``; ``a0`` is computed once, ``q_i`` once a direction, and both are
    kept as far as the memory limit allows. Blocks of data are shared out over threads; their sums are added in
    the order of the blocks, so the answer does not depend on the number of threads.

    Args:
        losses: The traced losses.
        space: The selected parameters.
        w0: Where the lines start.
        directions: Their directions.
        class_major: Whether the criterion is plain cross-entropy, which has a faster layout.
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
        self._losses, self._space, self._w0, self._directions = losses, space, w0, directions
        self._class_major = class_major
        self._keep = False
        self._base: list[tuple[Tensor, ...] | None] = [None] * losses.n_blocks
        self._shifts: dict[int, list[tuple[Tensor, ...] | None]] = {}
        per_direction = self._preactivation_bytes()
        self._keep = per_direction * 2 <= cache_bytes
        self.group = max(1, min(_MAX_GROUP, cache_bytes // max(per_direction, 1) - 1)) if self._keep else _MAX_GROUP
        self._workers = [_Worker(self) for _ in range(min(torch.get_num_threads(), losses.n_blocks))]

    @torch.no_grad()
    def _preactivation_bytes(self) -> int:
        first = _Worker(self).base(0)
        block_bytes = sum(tensor.nbytes for tensor in first)
        rows = len(self._losses.blocks[0][1])
        samples = sum(len(targets) for _, targets in self._losses.blocks)
        return block_bytes * samples // max(rows, 1)

    def __call__(self, index: Tensor, displacement: Tensor) -> Tensor:
        """``index[n], displacement[n] -> L[n]`` in float64."""
        index = index.cpu()
        points = {int(i): (index == i).nonzero().flatten().tolist() for i in index.unique()}
        self._make_room(set(points))
        sums, weights = self._over_blocks(points, displacement.tolist())
        return sums.sum(dim=0) / weights.sum()

    def _make_room(self, wanted: set[int]) -> None:
        if not self._keep:
            return
        if len(self._shifts.keys() | wanted) > self.group:
            self._shifts = {i: shift for i, shift in self._shifts.items() if i in wanted}
        for i in wanted:
            self._shifts.setdefault(i, [None] * self._losses.n_blocks)

    def _over_blocks(self, points: dict[int, list[int]], displacement: list[float]) -> tuple[Tensor, Tensor]:
        n_blocks, workers = self._losses.n_blocks, self._workers
        sums = torch.zeros(n_blocks, len(displacement), dtype=torch.float64)
        weights = torch.zeros(n_blocks, dtype=torch.float64)

        def stripe(worker: _Worker, blocks: Sequence[int]) -> None:
            for block in blocks:
                weights[block] = worker.walk(block, points, displacement, sums[block])

        # Contiguous stripes: which block a thread takes must not matter, and neighbours share the cache.
        edges = [round(part * n_blocks / len(workers)) for part in range(len(workers) + 1)]
        stripes = [range(first, last) for first, last in itertools.pairwise(edges)]
        _run_single_threaded([lambda w=w, s=s: stripe(w, s) for w, s in zip(workers, stripes, strict=True)])
        return sums, weights


def _run_single_threaded(tasks: list[Callable[[], None]]) -> None:
    """Run tasks side by side, each operation on one thread; torch's own setting comes back."""
    with one_thread():
        if len(tasks) == 1:
            tasks[0]()
            return
        with ThreadPoolExecutor(len(tasks), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for done in [pool.submit(task) for task in tasks]:
                done.result()


class _Worker:
    """One thread's hands: module objects of its own on shared tensors."""

    def __init__(self, lines: TracedLines) -> None:
        self._lines = lines
        split: SplitModel = lines._losses.split
        self._affine = [dataclasses.replace(node, module=replica(node.module)) for node in split.affine]
        self._tail = replica(split.tail)
        head = split.head
        self._head = None if head is None else (head.weight, None if head.bias is None else head.bias[:, None])
        self._split = split
        self._transposed = lines._class_major and split.output_is_affine

    def base(self, block: int) -> tuple[Tensor, ...]:
        """Outputs of the affine nodes at w0."""
        kept = self._lines._base[block]
        if kept is not None:
            return kept
        parameters = self._lines._space.unflatten(self._lines._w0)
        values = self._lines._losses.frontier(block)
        base = tuple(
            self._laid_out(substituted_call(node.module, node.selected, parameters, [values[i] for i in node.inputs]))
            for node in self._affine
        )
        if self._lines._keep:
            self._lines._base[block] = base
        return base

    def _shift(self, direction: int, block: int) -> tuple[Tensor, ...]:
        """What one unit along a direction adds to them."""
        kept = self._lines._shifts.get(direction)
        known = None if kept is None else kept[block]
        if known is not None:
            return known
        parameters = self._lines._space.unflatten(self._lines._directions[direction])
        values = self._lines._losses.frontier(block)
        shift = tuple(self._laid_out(affine_shift(node, parameters, values)) for node in self._affine)
        if kept is not None:
            kept[block] = shift
        return shift

    def _laid_out(self, preactivation: Tensor) -> Tensor:
        return preactivation.T.contiguous() if self._transposed and preactivation.ndim == 2 else preactivation

    @torch.no_grad()
    def walk(self, block: int, points: dict[int, list[int]], displacement: list[float], sums: Tensor) -> float:
        """Write the summed losses of one block at the points; return the weight of the block."""
        base, weight = self.base(block), 0.0
        values = self._lines._losses.frontier(block)
        rest = [values[position] for position in self._split.tail_inputs]
        targets = self._lines._losses.blocks[block][1]
        for direction, positions in points.items():
            shift = self._shift(direction, block)
            for position in positions:
                step = displacement[position]
                moved = [torch.add(a, q, alpha=step) for a, q in zip(base, shift, strict=True)]
                total, weight = self._loss(moved, rest, self._parameters(direction, step), targets)
                sums[position] = total
        return float(weight)

    def _parameters(self, direction: int, step: float) -> dict[str, Tensor]:
        if not self._split.tail_names:
            return {}
        lines = self._lines
        return lines._space.unflatten(lines._w0 + step * lines._directions[direction])

    def _loss(
        self, moved: list[Tensor], rest: list[Any], parameters: dict[str, Tensor], targets: Any
    ) -> tuple[Tensor, Tensor | float]:
        if self._transposed:
            return cross_entropy_class_major(moved[0], targets[None]), float(len(targets))
        hidden = substituted_call(self._tail, self._split.tail_names, parameters, [*moved, *rest])
        if self._head is not None and self._lines._class_major and hidden.ndim == 2:
            weight, bias = self._head
            logits = weight @ hidden.T if bias is None else torch.addmm(bias, weight, hidden.T)
            return cross_entropy_class_major(logits, targets[None]), float(len(targets))
        if self._split.head is not None:
            hidden = self._split.head(hidden)
        losses, weight = self._lines._losses.sample_losses(hidden, targets)
        return losses.sum(dtype=torch.float64), weight
