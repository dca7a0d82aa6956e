"""Checkpoints without pickle: a model, and where a training stands."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from landscope.errors import StorageError
from landscope.storage.archive import read_archive, write_archive

__all__ = ["TrainingState", "load_model", "save_model"]

_MODEL, _OPTIMIZER, _LOSSES, _EPOCHS = "model.", "optimizer.", "minibatch_loss", "epochs"


def _arrays(prefix: str, tensors: dict[str, Tensor]) -> dict[str, tuple[tuple[str, ...], Tensor]]:
    return {prefix + name: (tuple(f"axis_{i}" for i in range(t.ndim)), t) for name, t in tensors.items()}


def _named(prefix: str, arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in arrays.items() if name.startswith(prefix)}


def save_model(path: Path, model: nn.Module, step: int) -> None:
    """Write the whole model at an optimisation step."""
    arrays = _arrays(_MODEL, dict(model.state_dict()))
    write_archive(path, kind="checkpoint", arrays=arrays, attributes={"step": step})


def load_model(path: Path, model: nn.Module) -> int:
    """Read a model back into ``model``; return its optimisation step.

    Raises:
        StorageError: If the file is damaged or of another model.
    """
    kind, arrays, attributes = read_archive(path)
    _load_state(path, kind, "checkpoint", _named(_MODEL, arrays), model)
    return int(attributes["step"])


def _load_state(path: Path, kind: str, wanted: str, state: dict[str, Tensor], model: nn.Module) -> None:
    try:
        if kind != wanted:
            raise ValueError(kind)
        model.load_state_dict(state)
    except (RuntimeError, ValueError) as error:
        raise StorageError(
            expected=f"a {wanted} of this network at {path}",
            got=str(error).splitlines()[0],
            hint="The file belongs to another run.",
        ) from error


@dataclasses.dataclass
class TrainingState:
    """Where a training stands after a whole epoch; all that resuming needs, minibatches being a function of the epoch.

    Args:
        epoch: Epochs done.
        start_epoch: Epoch after which the window starts, once known.
        losses: Minibatch losses of each epoch.
        rows: For each epoch: training loss and error, test loss and error.
    """

    epoch: int = 0
    start_epoch: int | None = None
    losses: list[Tensor] = dataclasses.field(default_factory=list)
    rows: list[list[float]] = dataclasses.field(default_factory=list)

    def save(self, path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Write the state with its model and optimiser."""
        state = optimizer.state_dict()
        tensors = {
            f"{index}.{key}": value
            for index, entries in state["state"].items()
            for key, value in entries.items()
            if isinstance(value, Tensor)
        }
        arrays = {**_arrays(_MODEL, dict(model.state_dict())), **_arrays(_OPTIMIZER, tensors)}
        if self.losses:
            arrays[_LOSSES] = (("epoch", "batch"), torch.stack(self.losses))
            arrays[_EPOCHS] = (("epoch", "quantity"), torch.tensor(self.rows, dtype=torch.float64))
        attributes = {
            "epoch": self.epoch,
            "start_epoch": self.start_epoch,
            "param_groups": state["param_groups"],
        }
        write_archive(path, kind="training_state", arrays=arrays, attributes=attributes)

    @classmethod
    def load(cls, path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> TrainingState:
        """Read a state back, and put the model and the optimiser where they were.

        Raises:
            StorageError: If the file is damaged or of another model.
        """
        kind, arrays, attributes = read_archive(path)
        _load_state(path, kind, "training_state", _named(_MODEL, arrays), model)
        entries: dict[int, dict[str, Any]] = {}
        for name, tensor in _named(_OPTIMIZER, arrays).items():
            index, key = name.split(".", 1)
            entries.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict({"state": entries, "param_groups": attributes["param_groups"]})
        return cls(
            epoch=attributes["epoch"],
            start_epoch=attributes["start_epoch"],
            losses=list(arrays[_LOSSES]) if _LOSSES in arrays else [],
            rows=arrays[_EPOCHS].tolist() if _EPOCHS in arrays else [],
        )
