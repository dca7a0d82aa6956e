"""Weights over optimisation steps, in memory or on disk, with their provenance."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from landscope._checks import check_count, check_finite, check_kind
from landscope.errors import InputError
from landscope.parameters import ParameterSpace, Selection
from landscope.results import stamp
from landscope.sketch import CountSketch
from landscope.trajectory.checkpoint_files import find_checkpoints
from landscope.trajectory.checkpoints import model_of_row
from landscope.trajectory.rows import (
    MemoryRows,
    Rows,
    SomeColumns,
    are_weights_of,
    check_rates,
    check_rows,
    errors_of,
)
from landscope.trajectory.spacing import rows_between, what_is_wrong

__all__ = ["Trajectory", "check_fresh", "check_space"]

_BLOCK_BYTES = 2**26


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Trajectory:
    """The path of the selected weights: one row after each optimisation step.

    The rows may lie on disk; :meth:`blocks` reads them one bounded piece at a time, ``weights`` all at once.

    Args:
        steps: Optimisation step of each row, ``[T]``, strictly increasing.
        learning_rate: Learning rate alpha of each step, ``[T]``, NaN where unknown or not one number for all weights.
        loss: Minibatch loss L^mu that the step was taken on, ``[T]``, NaN where not given.
        space: Parameters of the columns, or None if unknown.
        precision: Floating type the weights had in training; None where the rows have it themselves.
        provenance: Origin of the trajectory.
        checkpoints: Step -> checkpoint of the whole model, where the rows were taken from checkpoints.
        sketch: The map of the weights to the columns, where rows are sketches of the weights; N is then its size.

    Example:
        >>> import torch
        >>> path = Trajectory.of(torch.randn(6, 3).cumsum(0))
        >>> path.weights.shape, path.window(2, 5).steps.tolist(), path.thin(2).steps.tolist()
        (torch.Size([6, 3]), [2, 3, 4], [1, 3, 5])
    """

    _rows: Rows
    _selection: slice
    steps: Int[Tensor, " T"]
    learning_rate: Float[Tensor, " T"]
    loss: Float[Tensor, " T"]
    space: ParameterSpace | None = None
    precision: torch.dtype | None = None
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=stamp)
    checkpoints: Mapping[int, Any] = dataclasses.field(default_factory=dict)
    sketch: CountSketch | None = None

    @classmethod
    def of(
        cls,
        weights: Float[Tensor, "T N"],
        *,
        steps: Int[Tensor, " T"] | None = None,
        learning_rate: Float[Tensor, " T"] | None = None,
        loss: Float[Tensor, " T"] | None = None,
        space: ParameterSpace | None = None,
        precision: torch.dtype | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> Trajectory:
        """Make a trajectory of weights in memory.

        Args:
            weights: One row for each step.
            steps: Step of each row; 1, 2, ... by default.
            learning_rate: Learning rate of each step; unknown (NaN) by default.
            loss: Minibatch loss of each step; unknown (NaN) by default.
            space: Parameters of the columns.
            precision: Floating type the weights had in training; that of ``weights`` by default.
            provenance: Origin of the weights.

        Returns:
            The trajectory; it shares memory with ``weights``.

        Raises:
            InputError: If lengths differ, steps do not increase, or a learning rate is negative or infinite.
        """
        check_rows(weights)
        count = len(weights)
        unknown = torch.full((count,), torch.nan, dtype=torch.float64)
        trajectory = cls(
            _rows=MemoryRows(weights),
            _selection=slice(0, count, 1),
            steps=torch.arange(1, count + 1) if steps is None else steps,
            learning_rate=unknown if learning_rate is None else learning_rate,
            loss=unknown if loss is None else loss,
            space=space,
            precision=precision,
            provenance=provenance or stamp(),
        )
        if space is not None and space.dim != weights.shape[1]:
            raise InputError(
                expected=f"weights of {space.dim} columns, as the space selects",
                got=f"{weights.shape[1]}",
                hint="Pass the space the weights were flattened with.",
            )
        for name in ("steps", "learning_rate", "loss"):
            check_kind(name, getattr(trajectory, name), Tensor, hint=f"Pass torch.tensor({name}).")
            if (got := tuple(getattr(trajectory, name).shape)) != (count,):
                raise InputError(expected=f"{name} of {count} rows", got=f"{got}", hint="One value a row.")
        check_rates(trajectory.learning_rate)
        if wrong := what_is_wrong(trajectory.steps):
            raise InputError(
                expected="strictly increasing steps of at least 0", got=wrong, hint="One step number a row."
            )
        return trajectory

    @classmethod
    def from_checkpoints(
        cls,
        checkpoints: str | Path | Iterable[Any] | Mapping[int, Any],
        model: nn.Module,
        select: Selection | Iterable[Selection] | None = None,
        *,
        steps: Sequence[int] | None = None,
        steps_per_epoch: int | None = None,
        path: str | Path | None = None,
    ) -> Trajectory:
        """Make a trajectory of checkpoints that a training has saved, one row for each.

        A checkpoint is a file of ``torch.save`` (a state dict, or one under "state_dict", "model_state_dict", "model"
        or "module", as of Lightning), a file of safetensors, a folder with ``model.safetensors`` or
        ``pytorch_model.bin`` in one file or several (Hugging Face's ``checkpoint-500``, accelerate), a folder of
        torch.distributed.checkpoint (FSDP), or a state dict in memory. No code in a file is run. Prefixes of trainers
        before the names of the model are taken off. Of adapters saved alone (``adapter_model.safetensors`` of LoRA)
        the selected parameters must be in the file; everything else is that of the model given.

        The step of a checkpoint is the one given; otherwise that in the checkpoint (``global_step`` or ``step``, or
        ``trainer_state.json``); otherwise that in its name. Rows far apart show where the weights went, not how they
        fluctuate from step to step: see :attr:`every`.

        Args:
            checkpoints: A folder; files, folders or state dicts in order; or ``{step: checkpoint}``.
            model: The model; its weights are not changed.
            select: Parameters that become the columns, see :meth:`landscope.ParameterSpace.of`.
            steps: Step of each checkpoint of a list.
            steps_per_epoch: Optimiser steps in an epoch, where the names of the files count epochs.
            path: A new folder for the rows, which are then read from disk when they are needed; in memory by default.

        Returns:
            The trajectory; :meth:`model_at` gives the whole model of each row.

        Raises:
            InputError: If a checkpoint is of another model, its step is not known, two have the same step, or the rows
                are too large for memory and ``path`` is not given.
            StorageError: If a file cannot be read, or ``path`` exists.

        Example:
            >>> import tempfile, torch
            >>> from pathlib import Path
            >>> model, folder = torch.nn.Linear(2, 1), Path(tempfile.mkdtemp())
            >>> for step in (100, 200, 1000):
            ...     torch.save({"model": model.state_dict()}, folder / f"step_{step}.pt")
            >>> path = Trajectory.from_checkpoints(folder, model, "weight")
            >>> path.steps.tolist(), path.weights.shape, path.every
            ([100, 200, 1000], torch.Size([3, 2]), None)
        """
        from landscope.trajectory.stored import trajectory_of_checkpoints

        found = find_checkpoints(checkpoints, steps, steps_per_epoch)
        return trajectory_of_checkpoints(found, model, ParameterSpace.of(model, select), path)

    def __repr__(self) -> str:
        reach = f"{int(self.steps[0])} to {int(self.steps[-1])}" if len(self) else "none"
        return f"Trajectory(rows={len(self)}, dim={self.dim}, steps={reach})"

    def __len__(self) -> int:
        return len(range(*self._selection.indices(self._rows.shape[0])))

    @property
    def dim(self) -> int:
        """Number of selected weights, N."""
        return self._rows.shape[1]

    @property
    def every(self) -> int | None:
        """Optimiser steps between two rows; None where the distances differ, or there are fewer than two rows."""
        gaps = self.steps.diff().unique()
        return int(gaps[0]) if len(gaps) == 1 else None

    def model_at(self, step: int, model: nn.Module) -> nn.Module:
        """A copy of the model as it was at the step of a row: all its parameters and buffers.

        Make a risk of it to measure the loss landscape there: ``EmpiricalRisk(trajectory.model_at(step, model),
        criterion, data, space=trajectory.space)``.

        Args:
            step: Optimiser step of a row.
            model: The model; it is copied and not changed.

        Raises:
            InputError: If there is no row of this step, or the rest of the model at this step is not known.
            StorageError: If the checkpoint of the row has gone or changed.
        """
        places = (self.steps == step).nonzero().flatten().tolist()
        if not places:
            raise InputError(
                expected="the step of a row",
                got=f"{step}",
                hint=f"Choose one of .steps, for example {int(self.steps[-1]) if len(self) else 'after a recording'}.",
            )
        if self.sketch is not None:
            check_space(self)
        return model_of_row(model, self.row(places[0]), self.space, step, self.checkpoints.get(step))

    @property
    def weights(self) -> Float[Tensor, "T N"]:
        """All rows at once, read into memory where they lie on disk."""
        return self.rows(0, len(self))

    def rows(self, start: int, stop: int, columns: slice = slice(None)) -> Float[Tensor, "rows n"]:
        """Rows ``start`` to ``stop`` (counted in this trajectory), all ``columns`` or a slice of them."""
        positions = range(*self._selection.indices(self._rows.shape[0]))[start:stop]
        if not positions:
            return self._rows.read(0, 0, columns)
        return self._rows.read(positions[0], positions[-1] + 1, columns)[:: self._selection.step]

    def row(self, index: int) -> Float[Tensor, " N"]:
        """The row ``index``, ``[N]``, in weight units; negative indices count from the end."""
        index = range(len(self))[index]
        return self.rows(index, index + 1)[0]

    def holds(self, index: int, weights: Float[Tensor, " N"]) -> bool:
        """Whether row ``index`` has these ``weights``: to the bit, or within the error of encoded rows and sketches."""
        return are_weights_of(self.row(index), weights, self.errors(index), self.sketch)

    def errors(self, index: int) -> Float[Tensor, " N"] | None:
        """How far each weight of row ``index`` may be from its value, for encoded rows; None where they are exact."""
        return errors_of(self._rows, range(*self._selection.indices(self._rows.shape[0]))[index])

    def blocks(self, rows: int | None = None) -> Iterator[Float[Tensor, "rows N"]]:
        """All rows in order, at most ``rows`` at a time; by default as many as fit a bounded piece of memory.

        Raises:
            InputError: If ``rows`` is below 1.
        """
        rows = max(1, _BLOCK_BYTES // (8 * self.dim)) if rows is None else check_count("rows", rows)
        for start in range(0, len(self), rows):
            yield self.rows(start, min(start + rows, len(self)))

    def panels(
        self, max_bytes: int = 2**30, *, columns: slice = slice(None)
    ) -> Iterator[tuple[slice, Float[Tensor, "T columns"]]]:
        """Columns in order, as many at a time as fit ``max_bytes`` in float64, with where they lie.

        Args:
            max_bytes: Bytes of a panel.
            columns: Which of them; all by default.

        Raises:
            InputError: If ``max_bytes`` is below 1.
        """
        width = max(1, check_count("max_bytes", max_bytes) // (8 * max(1, len(self))))
        first, last, _ = columns.indices(self.dim)
        for start in range(first, last, width):
            panel = slice(start, min(start + width, last))
            yield panel, self.rows(0, len(self), panel)

    def window(self, start: int | None = None, stop: int | None = None) -> Trajectory:
        """The rows of the steps ``start <= step < stop``.

        Args:
            start: First step; from the beginning by default.
            stop: First step left out; to the end by default.

        Returns:
            The part, reading the same rows.

        Raises:
            InputError: If no row lies in the window, or it reaches beyond the recorded steps.
        """
        return self.part(rows_between(self.steps, start, stop))

    def thin(self, every: int) -> Trajectory:
        """Every ``every``-th row, from the first; an InputError below 1."""
        check_count("every", every, minimum=1)
        return self.part(slice(0, len(self), every))

    def of_parameters(self, select: str | Iterable[str]) -> Trajectory:
        """The columns of some of the recorded parameters, for example of one layer.

        Args:
            select: Globs over the names that were recorded, or over the names of their layers.

        Returns:
            The part, reading the same rows.

        Raises:
            InputError: If a pattern matches nothing, or it is not known what the columns are.
        """
        space = check_space(self)
        part = space.part(select)
        columns = space.columns(part.names)
        return dataclasses.replace(self, _rows=SomeColumns(self._rows, columns), space=part)

    def scaled(self, scale: Float[Tensor, " N"]) -> Trajectory:
        """The path of ``scale * w``: the same run in other coordinates.

        Args:
            scale: A factor for each column.

        Raises:
            InputError: If there is not one factor a column.
        """
        if scale.shape != (self.dim,):
            raise InputError(
                expected=f"{self.dim} scales", got=f"{tuple(scale.shape)}", hint="One for each recorded weight."
            )
        rows = SomeColumns(self._rows, torch.arange(self.dim), scale)
        return dataclasses.replace(self, _rows=rows, space=None, sketch=None)

    def part(self, part: slice) -> Trajectory:
        """The rows in the slice ``part``, counted in this trajectory, reading the same memory or file."""
        positions = range(*self._selection.indices(self._rows.shape[0]))[part]
        return dataclasses.replace(
            self,
            _selection=slice(positions.start, positions.stop, positions.step),
            steps=self.steps[part].contiguous(),
            learning_rate=self.learning_rate[part],
            loss=self.loss[part],
        )

    def check(self, *, minimum_rows: int = 2) -> None:
        """Raise unless the trajectory has at least ``minimum_rows`` rows and finite weights throughout."""
        if len(self) < check_count("minimum_rows", minimum_rows, minimum=0):
            raise InputError(
                expected=f"a trajectory of at least {minimum_rows} steps",
                got=f"{len(self)}",
                hint="Record longer, or ask for fewer modes.",
            )
        for block in self.blocks() if len(self) > self.dim else (panel for _, panel in self.panels()):
            check_finite("recorded weights", block, hint="Cut the trajectory before them with .window(stop=...).")


def check_space(trajectory: Trajectory) -> ParameterSpace:
    """The parameters of the columns.

    Raises:
        InputError: If they are not known, or the columns are numbers of a sketch.
    """
    if trajectory.space is None:
        is_sketch = trajectory.sketch is not None
        raise InputError(
            expected="a trajectory of weights that names its parameters",
            got="sketches of weights" if is_sketch else "one without a space",
            hint="Record the weights themselves as well, with a second TrajectoryRecorder without sketch=."
            if is_sketch else "Record it with TrajectoryRecorder, or pass space= to Trajectory.of.",
        )  # fmt: skip
    return trajectory.space


def check_fresh(window: Trajectory, fresh: Trajectory) -> None:
    """Raise where a window given as fresh data shares rows with the window it is compared with.

    Args:
        window: The window.
        fresh: The window that must hold other data.

    Raises:
        InputError: If at least two rows of the same steps hold the same weights.
    """
    if window.dim != fresh.dim:
        return
    shared = window.steps[torch.isin(window.steps, fresh.steps)]
    if len(shared) < 2:
        return
    ends = [int(shared[0]), int(shared[-1])]
    places = [[int(torch.searchsorted(part.steps, step)) for part in (window, fresh)] for step in ends]
    if all(torch.equal(window.row(own), fresh.row(other)) for own, other in places):
        raise InputError(
            expected="fresh data: a window with other steps of the run",
            got=f"one with the same rows at steps {ends[0]} to {ends[1]}",
            hint="Pass the window that follows, for example trajectory.window(start=last_step + 1).",
        )
