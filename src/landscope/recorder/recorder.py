"""A recorder for any training loop: it keeps the selected weights after every optimiser step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from landscope._checks import check_count, check_hooked, check_path, is_number
from landscope.errors import InputError, LandscopeWarning, NonFiniteError, StorageError
from landscope.notices import warn
from landscope.optimizer_steps import ends_step, shared_rate
from landscope.parameters import ParameterSpace, Selection
from landscope.processes import is_first_to_claim
from landscope.recorder.blocks import Block, BlockPool, Rows, rows_of_a_block
from landscope.recorder.changes import ChangeWatch
from landscope.recorder.checks import (
    HalfStepWatch,
    RecordedPlaces,
    check_last,
    check_optimizer,
    fingerprint,
    first_step_of,
    warn_frozen,
)
from landscope.recorder.room import Room
from landscope.recorder.sinks import DiskSink, FollowingSink, MemorySink
from landscope.recorder.tables import Encoding, bytes_of_a_row, check_encoding
from landscope.shown import in_lines
from landscope.sketch import CountSketch, sketch_of
from landscope.trajectory import Trajectory, stored_dtype

__all__ = ["TrajectoryRecorder"]

_MOVES_WITHIN = 3
"""Steps within which a training moves a weight."""


class TrajectoryRecorder:
    """Records the weights of a training run, one row after each ``optimizer.step()``.

    The recorder hooks the optimiser, so it works in any loop, with any ``torch.optim`` optimiser and with gradient
    accumulation. It only reads: the training is bit for bit the same without it. Without a path it keeps all rows, or
    the ``last`` ones, in memory; with a path it holds one block of rows and writes blocks to disk.

    It may be entered again after its block has ended, and then goes on with the next step, if the weights did not move
    in between.

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
        n_steps: Steps that will be recorded, where that is known: the bytes of their rows are compared with the free
            room on the disk of ``path`` before the folder is made, and with it or the free memory when the ``with``
            block begins.
        encoding: ``"exact"``, or ``"delta-int8"`` for rows on disk: one byte a weight, and every 64th row in full. A
            weight is then within half a scale of its value, at most 1/253 of the largest step of the 256 weights that
            share the scale; errors do not add up.
        sketch: Numbers of a row in place of N, such as 4096: random sums of the weights that keep lengths and angles,
            see :class:`landscope.sketch.CountSketch`, which may be given too. Rows give variances of modes and
            coordinates along them, but no directions; see ``sketch`` of :func:`landscope.principal_modes`.

    Raises:
        InputError: If the optimiser lacks selected parameters that require a gradient, when resuming without
            ``first_step`` or with one that leaves out rows or with another ``every``, or with both ``last`` and
            ``path``. When the ``with`` block begins, if the model is not the one of the row before ``first_step``, if
            the weights moved since the last block, or if the recorder is recording already. While recording, if a
            recorded parameter is replaced by another object: the rows before are kept.
        StorageError: If ``path`` exists (and ``resume`` is not asked for), belongs to another model, cannot be
            written, or is deleted while recording; if the rows of ``n_steps`` do not fit, or memory is full. The rows
            before that are kept, and no further ones are recorded.
        NonFiniteError: While recording or when it ends, if a weight became NaN or infinite; the rows before
            that are kept.

    Warns:
        LandscopeWarning: If the ``with`` block ends without a step of the optimiser, its steps seem to be halves of
            steps, as those of some sharpness-aware optimisers, or the weights change after a step, as by clipping; if
            there is room for few rows, and ``n_steps`` is not given.

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
        n_steps: int | None = None,
        encoding: Encoding = "exact",
        sketch: int | CountSketch | None = None,
    ) -> None:
        check_last(last, path)
        check_encoding(encoding, path, sketch)
        self.space = ParameterSpace.of(model, select)
        self._tensors = self.space.tensors(model)
        self.space.flatten(model)  # raises where the weights have no values
        self._sketch = None if sketch is None else sketch_of(sketch, self.space.dim)
        warn_frozen(self.space.names, self._tensors)
        self._optimizer = optimizer = check_hooked(optimizer)
        self._seen: tuple[list[Any], int, list[dict[str, Any]]] = ([], 0, [])
        self._every = check_count("every", every, minimum=1)
        first_step = first_step_of(first_step, resume)
        self._step = self._steps_before = first_step - 1
        check_optimizer(optimizer, self.space.names, self._tensors)
        precision = self._tensors[0].dtype
        self._dtype = self._sketch.dtype(precision) if self._sketch else stored_dtype(precision)
        self._dim = self._sketch.size if self._sketch else self.space.dim
        self._n_steps = None if n_steps is None else check_count("n_steps", n_steps, minimum=0)
        stored = bytes_of_a_row(self._dim, self._dtype, encoding)
        self._room = Room(stored, None if path is None else check_path("path", path), last, encoding)
        rows = rows_of_a_block(self.row_bytes)
        self._pool = BlockPool(rows if last is None else min(rows, last), self._dim)
        if path is not None and n_steps is not None:
            self.check_room()  # before there is a folder, which a second try would find
        self._sink = self._made_sink(precision, last, encoding, resume=resume, before=first_step)
        self._hook: torch.utils.hooks.RemovableHandle | None = None
        self._places = RecordedPlaces(model, self.space.names, self._tensors)
        self._watch = HalfStepWatch(optimizer, self._tensors, every)
        self.changes = ChangeWatch(optimizer, self._tensors, self._sketch)
        self._began_at: tuple[int, list[int]] = (self._step, [])
        self._left: list[int] | None = None
        """Fingerprint of the weights where the last ``with`` block ended."""
        self._noted: Tensor | float = math.nan
        """Loss of the next step."""
        self._block: Block | None = None
        self._leaving: list[Block] = []
        """Full blocks on their way from the device."""

    def _made_sink(
        self, precision: torch.dtype, last: int | None, encoding: Encoding, *, resume: bool, before: int
    ) -> MemorySink | DiskSink | FollowingSink:
        """Where the rows go to; of several processes that record to one folder, the first one writes."""
        path = self._room.path
        if path is None:
            return MemorySink(self.space, precision, last, self._pool, self._room, self._sketch)
        if not is_first_to_claim(str(path.absolute())):
            return FollowingSink(path)
        settings = {"resume": resume, "before": before, "every": self._every}
        return DiskSink(self.space, path, precision, self._pool, encoding, self._sketch, **settings)

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The parameter groups that hold selected weights, as they are now: ``load_state_dict`` replaces them."""
        groups = self._optimizer.param_groups
        if groups is not self._seen[0] or len(groups) != self._seen[1]:  # found again only then: it takes time
            selected = {id(tensor) for tensor in self._tensors}
            held = [group for group in groups if any(id(parameter) in selected for parameter in group["params"])]
            self._seen = (groups, len(groups), held)
        return self._seen[2]

    def __repr__(self) -> str:
        where = "memory" if self._room.path is None else str(self._room.path)
        head = f"TrajectoryRecorder of {self.space.in_words}"
        return in_lines(head, every=self._every, step=self._step, rows_in=where)

    def __enter__(self) -> TrajectoryRecorder:
        if self._hook is not None:
            raise InputError(
                expected="a recorder that is entered once at a time", got="a second `with` block inside the first",
                hint="Enter it around the whole training, or again after the first block has ended.",
            )  # fmt: skip
        self.check_restored()
        self.check_room()
        self.begin()
        return self

    def begin(self) -> None:
        """Begin to record, where :meth:`check_restored` and :meth:`check_room` found nothing wrong."""
        self._sink.begin(self._step + 1)
        self._hook = self._optimizer.register_step_post_hook(self._after_step)
        self._watch.start()
        self.changes.start()
        self._began_at = self._step, fingerprint(self._tensors)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.close()
        except (NonFiniteError, StorageError):
            if kind is None:  # an error that is already under way comes first
                raise
        if kind is None and self._step == self._steps_before:
            warn(f"No optimiser step was recorded. {self._why_nothing()}", LandscopeWarning)
        if kind is None:
            self.changes.at_end(self.about_end())
            self._warn_if_at_rest()

    def _warn_if_at_rest(self) -> None:
        n_steps, parts = self._step - self._began_at[0], self.changes.last_weights()
        if n_steps >= _MOVES_WITHIN and parts and self._began_at[1] == fingerprint(parts):
            warn(
                f"No recorded weight moved in {n_steps} steps, so that there is nothing to "
                "analyse. Call loss.backward() before each step, after optimizer.zero_grad(), and look at the learning "
                "rate.",
                LandscopeWarning,
            )

    def about_end(self) -> str:
        """What follows, beside the rows, if the weights are no longer those of the last row."""
        return ""

    def close(self) -> None:
        """Stop recording and write the rows in memory; the ``with`` statement calls this."""
        self._stop()
        self.flush()

    def _stop(self) -> None:
        """Remove the hooks, and note the weights: a training that goes on is recorded from the same ones on."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
            self._watch.stop()
            self.changes.stop()
            self._left = fingerprint(self._tensors)

    def check_restored(self) -> None:
        """Raise unless the rows reach to the next step and the model has the weights of the row before it.

        With ``every`` above 1 that row may not exist; the weights are then not compared with it. A recorder that is
        entered again compares them with those at the end of its last ``with`` block, whatever ``every``.

        Raises:
            InputError: If rows are missing, the model has other weights, or a recorded parameter was replaced.
        """
        self._places.check(self._step + 1)
        if self._left is not None and self._left != fingerprint(self._tensors):
            raise InputError(
                expected=f"a model with the weights of step {self._step}, where this recorder stopped",
                got="other weights: they moved between the two `with` blocks",
                hint="Steps that are not recorded leave a gap that no statistic of steps sees. Record the whole "
                "training in one block, or make a new recorder with first_step=, the number of the next step.",
            )
        self._sink.check(self._step + 1, self.space.flatten(dict(zip(self.space.names, self._tensors, strict=True))))

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in memory: N times those of a weight, or those of a sketch."""
        return self._dim * self._dtype.itemsize

    def check_room(self) -> None:
        """Raise if the rows of ``n_steps`` do not fit into memory or on the disk.

        Raises:
            StorageError: If they do not.
        """
        step, n_steps = self._step, self._n_steps
        self._room.check(None if n_steps is None else (step + n_steps) // self._every - step // self._every)

    @property
    def step(self) -> int:
        """Number of the last step the optimiser took."""
        return self._step

    def note_loss(self, loss: Tensor | float) -> None:
        """Note ``loss``, one number (else an InputError), of the next minibatch; call it before each step."""
        if not is_number(loss):
            raise InputError(
                expected="the loss of a minibatch as one number",
                got=f"shape {list(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__,
                hint="Pass the loss, or its mean.",
            )
        self._noted = loss.detach().clone() if isinstance(loss, Tensor) else loss

    def _after_step(self, *_: object) -> None:
        if not ends_step(self._optimizer):
            return
        self._step += 1
        loss, self._noted = self._noted, math.nan
        self._watch.after_step(self._step)
        if self._step % self._every:
            self.changes.skip()
            return
        self._places.check(self._step)
        self._add_row(loss)

    def _add_row(self, loss: Tensor | float) -> None:
        if self._block is not None and self._block.memory.device != self._tensors[0].device:  # the model was moved
            self.flush()
        row = self._tensors if self._sketch is None else [self._sketch.of(self._tensors)]
        if self._block is None:
            self._block = Block(self._pool.take(row[0]))
        block, rate = self._block, shared_rate(self.groups)
        self.changes.keep(block.add(row, self._step, rate, loss), self._step)
        if len(block) == 1:
            self._check_room_of_block()
        if block.is_full:
            self._hand_over()

    def _check_room_of_block(self) -> None:
        """Raise if memory has no room for the rows that follow; all that were recorded are kept."""
        try:
            self._sink.check_room()
        except StorageError:
            self._stop()
            raise

    def flush(self) -> None:
        """Write the rows held in memory; once this returns, those on disk survive a power cut.

        Raises:
            NonFiniteError: If a weight is NaN or infinite; the finite rows before it are kept.
            StorageError: If the folder cannot be written, or was deleted.
        """
        self._hand_over(wait=True)
        self._in_sink(self._sink.sync)

    def _hand_over(self, *, wait: bool = False) -> None:
        """Hand the rows held to the sink; those that are still on their way from the device one block later."""
        block, self._block = self._block, None
        if block is not None and len(block):
            block.leave_device()
            self._leaving.append(block)
        if not self._leaving:
            self._in_sink(self._sink.check_there)
        still = 0 if wait or self._tensors[0].device.type == "cpu" else 1
        while len(self._leaving) > still:
            self._keep(self._leaving[0])

    def _keep(self, block: Block) -> None:
        """Give the finite rows of the first block that leaves the device to the sink."""
        rows, good = block.rows(self._dtype)
        if good:
            self._in_sink(self._sink.add, rows.first(good))
        self._leaving.pop(0)  # now, and not before: Ctrl-C may come while the sink waits for the disk
        if rows.weights.data_ptr() != block.memory.data_ptr():
            self._pool.give_back(block.memory)
        if good < len(block):
            self._leaving.clear()
            self._stop()
            self._in_sink(self._sink.sync)
            raise NonFiniteError(
                expected="finite weights and losses while recording",
                got=f"NaN or infinity in the weights or the noted loss of step {int(rows.steps[good])}",
                hint="The rows before are kept; lower the learning rate or inspect that minibatch.",
            )

    def _in_sink(self, do: Callable[..., None], *rows: Rows) -> None:
        """Let the sink do something; stop where it fails, because rows would be missing between those that follow."""
        try:
            do(*rows)
        except Exception:
            self._leaving.clear()
            self._stop()
            self.changes.skip()  # the error says where the rows end
            raise

    def trajectory(self) -> Trajectory:
        """What was recorded so far.

        Returns:
            The trajectory, in memory or reading from ``path``.

        Raises:
            InputError: If no step was recorded.
        """
        self._hand_over(wait=True)
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
