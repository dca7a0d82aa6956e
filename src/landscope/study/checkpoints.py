"""Whole models at some steps of a training: all parameters and buffers, one file each, without pickle."""

from __future__ import annotations

import bisect
from pathlib import Path

from torch import Tensor, nn

from landscope.errors import InputError, StorageError
from landscope.notices import as_copy_of
from landscope.risk.model_copy import detached_copy
from landscope.sharded import whole_state
from landscope.storage import read_archive, tensor_names, write_archive
from landscope.study.step_files import StepFiles
from landscope.wording import first_lines

__all__ = ["CheckpointSchedule", "Checkpoints", "load_model", "model_arrays", "save_model"]

_MODEL = "model."
_MAX_POINTS = 20
_MAX_BYTES = 2**31


def model_arrays(prefix: str, tensors: dict[str, Tensor]) -> dict[str, tuple[tuple[str, ...], Tensor]]:
    """Named tensors in the form that archives take."""
    return {prefix + name: (tuple(f"axis_{i}" for i in range(t.ndim)), t) for name, t in tensors.items()}


def save_model(path: Path, model: nn.Module, step: int, **further: str) -> None:
    """Write the parameters and buffers of a model at an optimiser step, and further attributes."""
    tensors = {name: value for name, value in whole_state(model).items() if isinstance(value, Tensor)}
    arrays = model_arrays(_MODEL, tensors)
    write_archive(path, kind="checkpoint", arrays=arrays, attributes={"step": step, **further}, durable=True)


def load_model(path: Path, model: nn.Module) -> int:
    """Read a model back into ``model`` and return its optimiser step.

    Raises:
        StorageError: If the file is damaged or of another model.
    """
    archive = read_archive(path)
    state = {name.removeprefix(_MODEL): tensor for name, tensor in archive.arrays.items()}
    load_state(path, model, state, "checkpoint", archive.kind)
    return int(archive.attributes["step"])


def load_state(path: Path, model: nn.Module, state: dict[str, Tensor], wanted: str, kind: str) -> None:
    """Load tensors into a model, with an error that names the file."""
    # What a layer keeps beside tensors (extra state) is not stored, so it stays as the model has it.
    own = {name: value for name, value in model.state_dict().items() if not isinstance(value, Tensor)}
    try:
        if kind != wanted:
            raise ValueError(kind)
        model.load_state_dict({**own, **state})
    except (RuntimeError, ValueError) as error:
        raise StorageError(
            expected=f"a {wanted} of this model at {path}",
            got=first_lines(error, 2),
            hint="The file belongs to another model.",
        ) from error


class Checkpoints(StepFiles):
    """The whole models of a study, by optimiser step.

    Args:
        path: Their folder.
    """

    def save(self, step: int, model: nn.Module) -> None:
        """Keep the model as it is now, unless it is there already."""
        if not self.file(step).exists():
            save_model(self.file(step), model, step)

    def load(self, step: int, model: nn.Module) -> None:
        """Load the model at ``step`` into ``model``.

        Raises:
            InputError: If there is none.
            StorageError: If the file is damaged or of another model.
        """
        if not self.file(step).exists():
            raise InputError(
                expected=f"a step with a saved model: {', '.join(map(str, self.steps())) or 'none was saved'}",
                got=f"{step}",
                hint="End the window at one of them, or name the window before the training, in ls.Study(window=...).",
            )
        load_model(self.file(step), model)

    def tensor_names(self, step: int) -> list[str]:
        """Names of the parameters and buffers of the model at ``step``, without reading them.

        Raises:
            StorageError: If the file is missing or damaged.
        """
        return [name.removeprefix(_MODEL) for name in tensor_names(self.file(step))]


class CheckpointSchedule:
    """Evenly spaced steps of a training whose length is not known: at most 20 within a number of bytes.

    Every time more models are held than fit, each second one is dropped and the distance doubles. The distance depends
    only on the first and the current step, so a resumed training keeps the same steps as an uninterrupted one.

    Args:
        checkpoints: Where models are kept.
        model_bytes: Size of one.
        first: First step that counts.
        every: Steps between two recorded rows; models are kept at rows only.
        always: Steps that are kept in any case, beside the evenly spaced ones.
        max_points: Largest number of evenly spaced models.
        max_bytes: Largest number of bytes of them.

    Example:
        >>> import tempfile
        >>> model = nn.Linear(1, 1)
        >>> checkpoints = Checkpoints(Path(tempfile.mkdtemp()))
        >>> schedule = CheckpointSchedule(checkpoints, 8, first=1, always=(7,), max_points=4)
        >>> for step in range(1, 21):
        ...     schedule.see(step, model)
        >>> checkpoints.steps()
        [7, 8, 16]
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        model_bytes: int,
        *,
        first: int = 1,
        every: int = 1,
        always: tuple[int, ...] = (),
        max_points: int = _MAX_POINTS,
        max_bytes: int = _MAX_BYTES,
    ) -> None:
        self._checkpoints, self._always = checkpoints, set(always)
        self._most = max(2, min(max_points, max_bytes // max(1, model_bytes)))
        self._first, self._every, self._distance = first, every, every

    def keeps(self, step: int) -> bool:
        """Whether a model of this step is kept while the training is at this step."""
        return step in self._always or (step >= self._first and self._is_even(step))

    def see(self, step: int, model: nn.Module) -> None:
        """Keep the model if the schedule asks for this step, and drop those that it no longer asks for."""
        distance = self._distance_at(step)
        if distance > self._distance:
            even = [kept for kept in self._checkpoints.steps() if self._first <= kept < step and self._is_even(kept)]
            self._checkpoints.drop([kept for kept in even if kept % distance and kept not in self._always])
            self._distance = distance
        if self.keeps(step):
            self._checkpoints.save(step, model)

    def _is_even(self, step: int) -> bool:
        return step % self._distance_at(step) == 0

    def _distance_at(self, step: int) -> int:
        """Distance of the kept steps when the training is at a step."""
        distance = self._every
        while step // distance - (self._first - 1) // distance > self._most:
            distance *= 2
        return distance


def model_bytes(model: nn.Module) -> int:
    """Bytes of all parameters and buffers."""
    return sum(
        value.numel() * value.element_size() for value in model.state_dict().values() if isinstance(value, Tensor)
    )


def nearest_at_or_before(steps: list[int], step: int) -> int | None:
    """The largest of some rising steps that is not above ``step``."""
    place = bisect.bisect_right(steps, step)
    return steps[place - 1] if place else None


def fresh_copy(model: nn.Module) -> nn.Module:
    """A copy that may be loaded into; the user's model stays as it is."""
    return as_copy_of(model, detached_copy(model))
