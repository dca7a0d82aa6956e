"""Weights over optimisation steps, in memory or on disk, with their provenance."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from landscope._checks import check_count, check_finite, check_path
from landscope.errors import InputError, StorageError
from landscope.parameters import ParameterSpace
from landscope.results import stamp
from landscope.storage.rows import RowStore

__all__ = ["Trajectory", "check_fresh", "open_trajectory"]

_BLOCK_BYTES = 2**26


@runtime_checkable
class _Rows(Protocol):
    """A source of weights from which a range of rows can be read."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def read(self, start: int, stop: int, columns: slice = slice(None)) -> Tensor: ...


@dataclasses.dataclass(frozen=True)
class _MemoryRows:
    tensor: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    def read(self, start: int, stop: int, columns: slice = slice(None)) -> Tensor:
        return self.tensor[start:stop, columns]


@dataclasses.dataclass(frozen=True)
class _StoredRows:
    store: RowStore

    @property
    def shape(self) -> tuple[int, ...]:
        return self.store.shape("weights")

    def read(self, start: int, stop: int, columns: slice = slice(None)) -> Tensor:
        rows = torch.from_numpy(self.store.read("weights", start, stop, columns))
        if bool(torch.isnan(rows).any()):  # a recorder writes finite weights only
            raise StorageError(
                expected=f"whole rows {start} to {stop} in {self.store.path}",
                got="a missing block",
                hint="The folder is damaged; cut the trajectory with .window(), or record again.",
            )
        return rows


@dataclasses.dataclass(frozen=True)
class _SomeColumns:
    """Some columns of other rows, each multiplied by a factor where factors are given."""

    source: _Rows
    columns: Int[Tensor, " n"]
    scale: Float[Tensor, " n"] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.source.shape[0], len(self.columns))

    def read(self, start: int, stop: int, columns: slice = slice(None)) -> Tensor:
        wanted = self.columns[columns]
        if len(wanted) == 0:
            return self.source.read(start, stop, slice(0, 0))
        first, last = int(wanted.min()), int(wanted.max())
        rows = self.source.read(start, stop, slice(first, last + 1))
        rows = rows if len(wanted) == rows.shape[1] else rows[:, wanted - first]
        return rows if self.scale is None else rows * self.scale[columns].to(rows)


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

    Example:
        >>> import torch
        >>> path = Trajectory.of(torch.randn(6, 3).cumsum(0))
        >>> path.weights.shape, path.window(2, 5).steps.tolist(), path.thin(2).steps.tolist()
        (torch.Size([6, 3]), [2, 3, 4], [1, 3, 5])
    """

    _rows: _Rows
    _selection: slice
    steps: Int[Tensor, " T"]
    learning_rate: Float[Tensor, " T"]
    loss: Float[Tensor, " T"]
    space: ParameterSpace | None = None
    precision: torch.dtype | None = None
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=stamp)

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
            InputError: If lengths differ or steps do not increase.
        """
        if weights.ndim != 2:
            raise InputError(
                expected="weights of shape [T, N]",
                got=f"{tuple(weights.shape)}",
                hint="One row a step, one column a weight.",
            )
        count = len(weights)
        unknown = torch.full((count,), torch.nan, dtype=torch.float64)
        trajectory = cls(
            _rows=_MemoryRows(weights),
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
            if (got := len(getattr(trajectory, name))) != count:
                raise InputError(expected=f"{name} of {count} rows", got=f"{got}", hint="One value a row.")
        if bool((torch.diff(trajectory.steps) <= 0).any()):
            raise InputError(
                expected="strictly increasing steps", got="steps that do not increase", hint="One step number a row."
            )
        return trajectory

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
    def weights(self) -> Float[Tensor, "T N"]:
        """All rows at once, read into memory where they lie on disk."""
        return self.rows(0, len(self))

    def rows(self, start: int, stop: int, columns: slice = slice(None)) -> Float[Tensor, "rows n"]:
        """Rows ``start`` to ``stop`` (counted in this trajectory), all columns or some."""
        positions = range(*self._selection.indices(self._rows.shape[0]))[start:stop]
        if not positions:
            return self._rows.read(0, 0, columns)
        return self._rows.read(positions[0], positions[-1] + 1, columns)[:: self._selection.step]

    def row(self, index: int) -> Float[Tensor, " N"]:
        """One row; negative indices count from the end."""
        index = range(len(self))[index]
        return self.rows(index, index + 1)[0]

    def blocks(self, rows: int | None = None) -> Iterator[Float[Tensor, "rows N"]]:
        """All rows in order, one bounded piece at a time."""
        rows = rows or max(1, _BLOCK_BYTES // (8 * self.dim))
        for start in range(0, len(self), rows):
            yield self.rows(start, min(start + rows, len(self)))

    def panels(self, max_bytes: int = 2**30) -> Iterator[tuple[slice, Float[Tensor, "T columns"]]]:
        """All columns in order, as many at a time as fit ``max_bytes`` in float64, with where they lie."""
        width = max(1, max_bytes // (8 * len(self)))
        for start in range(0, self.dim, width):
            columns = slice(start, min(start + width, self.dim))
            yield columns, self.rows(0, len(self), columns)

    def window(self, start: int | None = None, stop: int | None = None) -> Trajectory:
        """The rows of the steps ``start <= step < stop``.

        Args:
            start: First step; from the beginning by default.
            stop: First step left out; to the end by default.

        Returns:
            The part, reading the same rows.

        Raises:
            InputError: If no row lies in the window.
        """
        first = 0 if start is None else int(torch.searchsorted(self.steps, start))
        last = len(self) if stop is None else int(torch.searchsorted(self.steps, stop))
        if first >= last:
            reach = f"{int(self.steps[0])} to {int(self.steps[-1])}" if len(self) else "none"
            raise InputError(
                expected=f"a window [{start}, {stop}) that holds recorded steps",
                got=f"steps {reach}",
                hint="Choose a window within them.",
            )
        return self.part(slice(first, last, 1))

    def thin(self, every: int) -> Trajectory:
        """Every ``every``-th row, from the first."""
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
        if self.space is None:
            raise InputError(
                expected="a trajectory that knows its parameters",
                got="one without a space",
                hint="Record it with TrajectoryRecorder, or pass space= to Trajectory.of.",
            )
        part = self.space.part(select)
        columns = self.space.columns(part.names)
        return dataclasses.replace(self, _rows=_SomeColumns(self._rows, columns), space=part)

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
        return dataclasses.replace(self, _rows=_SomeColumns(self._rows, torch.arange(self.dim), scale), space=None)

    def part(self, part: slice) -> Trajectory:
        """The rows of a slice, counted in this trajectory, reading the same memory or file."""
        positions = range(*self._selection.indices(self._rows.shape[0]))[part]
        return dataclasses.replace(
            self,
            _selection=slice(positions.start, positions.stop, positions.step),
            steps=self.steps[part].contiguous(),
            learning_rate=self.learning_rate[part],
            loss=self.loss[part],
        )

    def check(self, *, minimum_rows: int = 2) -> None:
        """Raise unless the trajectory has rows enough and finite weights throughout."""
        if len(self) < minimum_rows:
            raise InputError(
                expected=f"a trajectory of at least {minimum_rows} steps",
                got=f"{len(self)}",
                hint="Record longer, or ask for fewer modes.",
            )
        for block in self.blocks():
            check_finite("recorded weights", block, hint="Cut the trajectory before them with .window(stop=...).")


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


def open_trajectory(path: str | Path) -> Trajectory:
    """Open a trajectory that a recorder wrote; its weights stay on disk until they are read.

    Args:
        path: The folder given to :class:`landscope.TrajectoryRecorder`.

    Returns:
        The rows committed so far.

    Raises:
        StorageError: If the folder is missing, damaged, not of landscope or of a newer format.

    Example:
        >>> import landscope as ls, tempfile, torch
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> folder = tempfile.mkdtemp() + "/trajectory"
        >>> with ls.TrajectoryRecorder(model, optimizer, path=folder):
        ...     model(torch.ones(1, 2)).sum().backward()
        ...     optimizer.step()
        >>> ls.open_trajectory(folder).weights.shape
        torch.Size([1, 3])
    """
    store = RowStore.open(check_path("the folder of a trajectory", path))
    try:
        names = tuple(str(name) for name in store.attributes["names"])
        shapes = tuple(tuple(int(length) for length in shape) for shape in store.attributes["shapes"])
        columns = {
            name: torch.from_numpy(store.read(name, 0, store.rows)) for name in ("steps", "learning_rate", "loss")
        }
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(
            expected=f"a trajectory recorded by landscope at {path}",
            got=f"a table without {error}",
            hint="Check the path.",
        ) from error
    return Trajectory(
        _rows=_StoredRows(store),
        _selection=slice(0, store.rows, 1),
        space=ParameterSpace(names, shapes),
        precision=getattr(torch, str(store.attributes.get("precision")), None),
        provenance=dict(store.attributes.get("provenance", {})),
        **columns,
    )


def stored_dtype(precision: torch.dtype) -> torch.dtype:
    """The floating type of recorded rows: files know no bfloat16, and float32 holds it exactly."""
    return torch.float32 if precision == torch.bfloat16 else precision


def trajectory_columns(space: ParameterSpace, precision: torch.dtype) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """The columns of a trajectory on disk."""
    return {
        "weights": ((space.dim,), torch.empty(0, dtype=stored_dtype(precision)).numpy().dtype),
        "steps": ((), np.dtype(np.int64)),
        "learning_rate": ((), np.dtype(np.float64)),
        "loss": ((), np.dtype(np.float64)),
    }


def trajectory_attributes(space: ParameterSpace, precision: torch.dtype) -> dict[str, Any]:
    """What is kept beside the columns."""
    return {"names": space.names, "shapes": space.shapes, "precision": str(precision).removeprefix("torch.")}
