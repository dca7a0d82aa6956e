"""The state of a training after a whole epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from landscope.storage import Archive, read_archive, write_archive
from landscope.study.checkpoints import load_state, model_arrays

__all__ = ["TrainingState"]

_MODEL, _OPTIMIZER, _LOSSES, _EPOCHS = "model.", "optimizer.", "minibatch_loss", "epochs"


def _named(prefix: str, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in arrays.items() if name.startswith(prefix)}


@dataclasses.dataclass
class TrainingState:
    """Everything that is needed to resume; the minibatches are a function of the epoch.

    Args:
        epoch: Number of finished epochs.
        start_epoch: Epoch after which the window starts; None until it is known.
        losses: Minibatch losses of each epoch.
        rows: Training loss, training error, test loss and test error of each epoch.
    """

    epoch: int = 0
    start_epoch: int | None = None
    losses: list[Tensor] = dataclasses.field(default_factory=list)
    rows: list[list[float]] = dataclasses.field(default_factory=list)

    def save(self, path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Write the state after one epoch or more, with its model and optimiser."""
        state = optimizer.state_dict()
        tensors = {
            f"{index}.{key}": value
            for index, entries in state["state"].items()
            for key, value in entries.items()
            if isinstance(value, Tensor)
        }
        arrays = {
            **model_arrays(_MODEL, dict(model.state_dict())),
            **model_arrays(_OPTIMIZER, tensors),
            _LOSSES: (("epoch", "batch"), torch.stack(self.losses)),
            _EPOCHS: (("epoch", "quantity"), torch.tensor(self.rows, dtype=torch.float64)),
        }
        attributes = {"epoch": self.epoch, "start_epoch": self.start_epoch, "param_groups": state["param_groups"]}
        write_archive(path, kind="training_state", arrays=arrays, attributes=attributes, durable=True)

    @classmethod
    def load(cls, path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> TrainingState:
        """Read a state, and load it into the model and the optimiser.

        Raises:
            StorageError: If the file is damaged or of another model.
        """
        archive = read_archive(path)
        arrays, attributes = archive.arrays, archive.attributes
        load_state(path, model, _named(_MODEL, arrays), "training_state", archive.kind)
        entries: dict[int, dict[str, Any]] = {}
        for name, tensor in _named(_OPTIMIZER, arrays).items():
            index, key = name.split(".", 1)
            entries.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict({"state": entries, "param_groups": attributes["param_groups"]})
        return cls._of(archive)

    @classmethod
    def read(cls, path: Path) -> TrainingState:
        """Read a state without its model and optimiser.

        Raises:
            StorageError: If the file is damaged.
        """
        return cls._of(read_archive(path))

    @classmethod
    def _of(cls, archive: Archive) -> TrainingState:
        attributes, losses = archive.attributes, list(archive.arrays[_LOSSES])
        return cls(attributes["epoch"], attributes["start_epoch"], losses, archive.arrays[_EPOCHS].tolist())
