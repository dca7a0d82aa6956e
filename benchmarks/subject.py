"""What is measured on: the paper's network on MNIST at zero training error, with the modes of a window."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor, nn

import landscope as ls
from landscope.recorder import TrajectoryRecorder
from landscope.reproduction.experiment.datasets.loading import load_data
from landscope.reproduction.experiment.networks import mlp
from landscope.reproduction.experiment.training import evaluate, train
from landscope.sampling import MinibatchOrder

__all__ = ["Subject", "prepare"]

_BATCH = 50
_MAX_EPOCHS = 60
_WINDOW_EPOCHS = 10
LAYER = "2.weight"


class Subject:
    """The paper's network as it was prepared.

    Args:
        path: What :func:`prepare` wrote.
        device: Where it is to be.
    """

    def __init__(self, path: Path, device: str = "cpu") -> None:
        saved = torch.load(path, weights_only=True)
        self.name: str = saved["name"]
        self.data: tuple[Tensor, Tensor] = saved["inputs"].to(device), saved["targets"].to(device)
        self.model: nn.Sequential = mlp([784, 50, 50, 10])
        self.model.load_state_dict(saved["state"])
        self.model.to(device)
        self.directions: Tensor = saved["directions"].to(device)
        self.space = ls.ParameterSpace.of(self.model, LAYER)

    def risk(self, n_samples: int | None = None) -> ls.EmpiricalRisk:
        """The risk over the weights between the hidden layers."""
        inputs, targets = self.data
        part = (inputs[:n_samples], targets[:n_samples])
        return ls.EmpiricalRisk(self.model, nn.functional.cross_entropy, part, space=self.space)

    def modes(self, count: int) -> Tensor:
        """As many modes, spread over all ranks."""
        return self.directions[torch.linspace(0, len(self.directions) - 1, count).long()].contiguous()


def prepare(path: Path) -> None:
    """Train until no training sample is wrong, record ten epochs, keep the weights and all modes."""
    torch.set_num_threads(1)
    if os.environ.get("LANDSCOPE_DATA") and (Path(os.environ["LANDSCOPE_DATA"]) / "mnist").is_dir():
        images = load_data("mnist")
        data, name = (images.train_inputs.flatten(1), images.train_labels), "MNIST"
    else:
        generator = torch.Generator().manual_seed(0)
        data = torch.rand(60_000, 784, generator=generator), torch.randint(0, 10, (60_000,), generator=generator)
        name = "noise of MNIST's shape"
    model = mlp([784, 50, 50, 10], seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    order = MinibatchOrder(len(data[0]), _BATCH)
    epochs = train(model, nn.functional.cross_entropy, data, optimizer, order)
    for epoch in epochs:
        if evaluate(model, data)[1] == 0 or epoch.number == _MAX_EPOCHS or name != "MNIST":
            break
    with TrajectoryRecorder(model, optimizer, select=LAYER) as recorder:
        for _ in range(_WINDOW_EPOCHS):
            next(epochs)
    modes = ls.principal_modes(recorder.trajectory())
    torch.save(
        {
            "name": name,
            "inputs": data[0],
            "targets": data[1],
            "state": model.state_dict(),
            "directions": modes.directions.float(),
        },
        path,
    )
