"""A recorder for any training loop: it keeps the selected weights after every optimiser step."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscope._checks import check_count, check_hooked
from landscope.errors import InputError, LandscopeWarning, NonFiniteError, StorageError
from landscope.parameters import ParameterSpace, Selection
from landscope.results import stamp
from landscope.step_size import was_skipped
from landscope.storage.rows import RowStore
from landscope.trajectory import (
    Trajectory,
    open_trajectory,
    stored_dtype,
    trajectory_attributes,
    trajectory_columns,
)

__all__ = ["TrajectoryRecorder"]

_BLOCK_BYTES = 2**22
_MAX_BLOCK_ROWS = 1024


class TrajectoryRecorder:
    """Records the weights of a training run, one row after each ``optimizer.step()``.

    The recorder hooks the optimiser, so it works in any loop, with any ``torch.optim`` optimiser and with gradient
    accumulation. It only reads: the training is bit for bit the same without it. Without a path it keeps all rows, or
    the ``last`` ones, in memory; with a path it holds one block of rows and writes blocks to disk.

    Args:
        model: The model in training.
        optimizer: Its optimiser; a row is recorded after each of its steps.
        select: Parameters to record, see :meth:`landscope.ParameterSpace.of`.
        path: Folder for the trajectory; in memory by default.
        every: Number of steps between recorded rows.
        last: Number of latest rows to keep in memory; all by default.
        first_step: Number of the first step taken while recording; 1 by default. It must be given when resuming.
        resume: Continue after the rows of ``path`` before ``first_step``; later rows are removed when the ``with``
            block begins.

    Raises:
        InputError: If the optimiser holds none of the selected parameters, when resuming without ``first_step`` or
            with one that leaves out rows or with another ``every``, or with both ``last`` and ``path``.
        StorageError: If ``path`` exists (and ``resume`` is not asked for), belongs to another model, or
            cannot be written.
        NonFiniteError: While recording or when it ends, if a weight became NaN or infinite; the rows before
            that are kept.

    Warns:
        LandscopeWarning: If the ``with`` block ends without a step of the optimiser.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with TrajectoryRecorder(model, optimizer, select="weight") as recorder:
        ...     for _ in range(3):
        ...         loss = model(torch.ones(4, 2)).square().mean()
        ...         optimizer.zero_grad()
        ...         loss.backward()
        ...         recorder.note_loss(loss)
        ...         optimizer.step()
        >>> recorder.trajectory().weights.shape, recorder.trajectory().learning_rate.tolist()
        (torch.Size([3, 2]), [0.1, 0.1, 0.1])
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        select: Selection | Iterable[Selection] | ParameterSpace | None = None,
        *,
        path: str | Path | None = None,
        every: int = 1,
        last: int | None = None,
        first_step: int | None = None,
        resume: bool = False,
    ) -> None:
        if last is not None:
            check_count("last", last, minimum=1)
            if path is not None:
                raise InputError(
                    expected="last in memory, or a path",
                    got="both",
                    hint="Cut the trajectory on disk with .window(...).",
                )
        self.space = ParameterSpace.of(model, select)
        self._tensors = self.space.tensors(model)
        self._optimizer = check_hooked(optimizer)
        self._every = check_count("every", every, minimum=1)
        if resume and first_step is None:
            raise InputError(
                expected="first_step, the number of the next step, when resuming",
                got="none",
                hint="Rows from that step on are recorded again; pass first_step=last_step + 1 to keep all.",
            )
        first_step = check_count("first_step", 1 if first_step is None else first_step, minimum=0)
        self._step = self._steps_before = first_step - 1
        self.groups = self._groups_of_selected()  # read by what records more than the weights
        precision = self._tensors[0].dtype
        self._dtype = stored_dtype(precision)
        self._rows_per_block = max(1, min(_MAX_BLOCK_ROWS, _BLOCK_BYTES // (self.space.dim * self._dtype.itemsize)))
        self._sink = (
            _MemorySink(self.space, precision, last)
            if path is None
            else _DiskSink(
                self.space, Path(path), precision, self._rows_per_block, resume=resume, before=first_step, every=every
            )
        )
        self._hook: torch.utils.hooks.RemovableHandle | None = None
        self._start_block()

    def _groups_of_selected(self) -> list[dict[str, Any]]:
        """The parameter groups of the optimiser that hold selected weights."""
        selected = {id(tensor) for tensor in self._tensors}
        groups = [
            group
            for group in self._optimizer.param_groups
            if any(id(parameter) in selected for parameter in group["params"])
        ]
        if groups:
            return groups
        raise InputError(
            expected=f"an optimiser of {', '.join(self.space.names)}",
            got="an optimiser that holds none of them",
            hint="Make the optimiser from the parameters of this very model object.",
        )

    def _start_block(self) -> None:
        # Copies of the tensors as they are, on their own device: joined and moved once a block, not once a step.
        self._copies: list[list[Tensor]] = []
        self._losses = torch.full((self._rows_per_block,), torch.nan, dtype=torch.float64)
        self._steps: list[int] = []
        self._rates: list[float] = []

    def __enter__(self) -> TrajectoryRecorder:
        if self._hook is None:
            self._sink.begin(self._step + 1)
            self._hook = self._optimizer.register_step_post_hook(self._after_step)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.close()
        except (NonFiniteError, StorageError):
            if kind is None:  # an error that is already under way comes first
                raise
        if kind is None and self._step == self._steps_before:
            warnings.warn(f"No optimiser step was recorded. {self._why_nothing()}", LandscopeWarning, stacklevel=2)

    def close(self) -> None:
        """Stop recording and write the rows in memory; the ``with`` statement calls this."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        self.flush()

    @property
    def step(self) -> int:
        """Number of the last step the optimiser took."""
        return self._step

    def note_loss(self, loss: Tensor | float) -> None:
        """Note the minibatch loss of the next step; call it before ``optimizer.step()``."""
        self._losses[len(self._steps)] = loss.detach() if isinstance(loss, Tensor) else loss

    def _after_step(self, *_: object) -> None:
        if was_skipped(self._optimizer):
            return
        self._step += 1
        if self._step % self._every:
            return
        self._copies.append([tensor.detach().clone() for tensor in self._tensors])
        self._steps.append(self._step)
        self._rates.append(shared_rate(self.groups))
        if len(self._steps) == self._rows_per_block:
            self.flush()

    def _weights(self) -> Tensor:
        """The rows held, as one matrix on the CPU."""
        columns = [torch.stack(copies).flatten(1) for copies in zip(*self._copies, strict=True)]
        return torch.cat(columns, dim=1).to("cpu", self._dtype)

    def flush(self) -> None:
        """Hand the rows held to memory or disk.

        Raises:
            NonFiniteError: If a weight is NaN or infinite; the finite rows before it are kept.
        """
        held = len(self._steps)
        if held == 0:
            return
        weights = self._weights()
        finite = torch.isfinite(weights).all(dim=1) & ~torch.isinf(self._losses[:held])
        good = held if bool(finite.all()) else int((~finite).nonzero()[0])
        block = (
            weights[:good],
            torch.tensor(self._steps[:good]),
            torch.tensor(self._rates[:good], dtype=torch.float64),
            self._losses[:good],
        )
        bad_step = None if good == held else self._steps[good]
        self._start_block()
        if good:
            self._sink.add(*block)
        if bad_step is not None:
            if self._hook is not None:
                self._hook.remove()
                self._hook = None
            raise NonFiniteError(
                expected="finite weights and losses while recording",
                got=f"NaN or infinity in the weights or the noted loss of step {bad_step}",
                hint="The rows before are kept; lower the learning rate or inspect that minibatch.",
            )

    def trajectory(self) -> Trajectory:
        """What was recorded so far.

        Returns:
            The trajectory, in memory or reading from ``path``.

        Raises:
            InputError: If no step was recorded.
        """
        self.flush()
        found = self._sink.trajectory()
        if found is None:
            raise InputError(expected="at least one recorded optimiser step", got="none", hint=self._why_nothing())
        return found

    def _why_nothing(self) -> str:
        """What to do where nothing was recorded."""
        if self._step > self._steps_before:
            return f"None of the steps {self._steps_before + 1} to {self._step} is a multiple of every={self._every}."
        if hasattr(self._optimizer, "base_optimizer"):  # sharpness-aware wrappers step it without their own step()
            return "This optimiser steps its optimizer.base_optimizer: pass that one to the recorder."
        return "Call step() of the optimiser that the recorder was given, inside the with block."


def shared_rate(groups: Sequence[dict[str, Any]]) -> float:
    """The learning rate of parameter groups; NaN where they have several, or none."""
    rates = [math.nan if group.get("lr") is None else float(group["lr"]) for group in groups]
    return rates[0] if all(rate == rates[0] for rate in rates) else math.nan


def other_spacing(recorded: int, asked: int, path: Path) -> InputError:
    """The error of a recording that would go on with other gaps between its rows."""
    return InputError(
        expected=f"every={recorded}, as in the rows of {path}",
        got=f"every={asked}",
        hint=f"Go on with every={recorded}, or record to another path.",
    )


class _MemorySink:
    """Keeps every block, or as few of the latest as hold the last rows."""

    def __init__(self, space: ParameterSpace, precision: torch.dtype, last: int | None) -> None:
        self._space, self._precision, self._last = space, precision, last
        self._blocks: list[tuple[Tensor, ...]] = []

    def begin(self, first_step: int) -> None:
        """Rows in memory are of this recorder alone: none is recorded again."""

    def add(self, *block: Tensor) -> None:
        self._blocks.append(block)
        if self._last is not None:
            rows = sum(len(steps) for _, steps, _, _ in self._blocks)
            while rows - len(self._blocks[0][1]) >= self._last:
                rows -= len(self._blocks.pop(0)[1])

    def trajectory(self) -> Trajectory | None:
        if not self._blocks:
            return None
        if len(self._blocks) > 1:  # joined once, so that asking twice costs nothing
            self._blocks = [tuple(torch.cat(parts) for parts in zip(*self._blocks, strict=True))]
        kept = slice(None) if self._last is None else slice(-self._last, None)
        weights, steps, rates, losses = (part[kept] for part in self._blocks[0])
        return Trajectory.of(
            weights, steps=steps, learning_rate=rates, loss=losses, space=self._space, precision=self._precision
        )


class _DiskSink:
    """Writes every block to a folder."""

    def __init__(
        self,
        space: ParameterSpace,
        path: Path,
        precision: torch.dtype,
        rows_per_block: int,
        *,
        resume: bool,
        before: int,
        every: int,
    ) -> None:
        self._path, self._every = path, every
        if resume and path.exists():
            self._store = RowStore.open(path, writable=True)
            self._check_same(space)
            steps = self._steps()
            self._check_no_gap(steps, before)
            self._check_spacing(steps[steps < before], every)
        else:
            self._store = RowStore.create(
                path,
                trajectory_columns(space, precision),
                rows_per_block=rows_per_block,
                attributes={
                    **trajectory_attributes(space, precision),
                    "first_step": before,
                    "provenance": stamp(),
                },
            )

    def begin(self, first_step: int) -> None:
        """Remove the rows from a step on; they are recorded again."""
        self._store = RowStore.open(self._path, writable=True)  # others may have written since this was made
        steps = self._steps()
        self._check_no_gap(steps, first_step)
        self._store.truncate(int((steps < first_step).sum()))

    def _steps(self) -> np.ndarray:
        return self._store.read("steps", 0, self._store.rows)

    def _check_same(self, space: ParameterSpace) -> None:
        names = tuple(self._store.attributes.get("names", ()))
        shapes = tuple(tuple(shape) for shape in self._store.attributes.get("shapes", ()))
        if (names, shapes) != (space.names, space.shapes):
            raise StorageError(
                expected=f"a trajectory of {', '.join(space.names)} at {self._path}",
                got=f"one of {', '.join(names) or 'nothing'}",
                hint="Choose another path for this model.",
            )

    def _check_no_gap(self, steps: np.ndarray, before: int) -> None:
        """Refuse a first step that leaves out rows which the run must have taken in between."""
        every = self._every
        due = (before - 1) // every * every
        # A recording that was killed before its first rows were written still knows where it began.
        last = int(steps[-1]) if len(steps) else int(self._store.attributes.get("first_step", before)) - 1
        if due > last:
            raise InputError(
                expected=f"first_step of at most {last // every * every + every}, as the rows of"
                f" {self._path} end with step {last}",
                got=f"{before}",
                hint="Rows in memory are lost when a process is killed: call recorder.flush() whenever you save a "
                "checkpoint. Resume from an earlier checkpoint, or record to another path.",
            )

    def _check_spacing(self, kept: np.ndarray, every: int) -> None:
        """Refuse to go on with other gaps between the rows than those of the rows that stay."""
        gap = int(np.median(np.diff(kept))) if len(kept) > 1 else every
        if gap != every:
            raise other_spacing(gap, every, self._path)

    def add(self, weights: Tensor, steps: Tensor, rates: Tensor, losses: Tensor) -> None:
        self._store.append(
            weights=weights.numpy(), steps=steps.numpy(), learning_rate=rates.numpy(), loss=losses.numpy()
        )

    def trajectory(self) -> Trajectory | None:
        return open_trajectory(self._path) if self._store.rows else None
