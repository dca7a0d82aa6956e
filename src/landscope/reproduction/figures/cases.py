"""The named cells of the universality table: which network, optimiser, loss and data each of them is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from landscope._names import BatchNorm
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures.recipe import Plan

__all__ = ["CELLS", "Cell", "settings_of"]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One row of the table, or one for each layer.

    Args:
        key: Short name; of its run folders too.
        title: What a person reads.
        changes: Settings that differ from the shared ones; none where the runs are of another cell.
        quick: Further changes where the reproduction is a quick one.
        layers: Layers to look at one by one, all of them recorded; the selection as a whole where none is named.
        n_modes: Log-spaced modes to measure a layer along; all of the fitted range by default.
        preconditioned: Measure in the coordinates that the optimiser takes plain steps in.
        batch_norm: Statistics of batch normalisation on the landscape, kept or re-estimated at every point.
        seeds: At most so many seeds, for cells that take long.
        run: Key of the cell whose runs these are; its own by default.
    """

    key: str
    title: str
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    quick: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    layers: tuple[str, ...] = ()
    n_modes: int | None = None
    preconditioned: bool = False
    batch_norm: BatchNorm = "kept"
    seeds: int | None = None
    run: str | None = None

    def run_name(self, seed: int) -> str:
        """Folder of a run."""
        return f"{self.run or self.key}-seed{seed}"

    def n_seeds(self, plan: Plan) -> int:
        """Seeds of this cell."""
        return min(plan.seeds, self.seeds or plan.seeds)


_SEQUENCES = {"data": "modular-addition", "network": "gpt2", "optimizer": "adam", "learning_rate": 1e-3}

_QUICK_CNN = {"record_every": 1, "flatness_samples": None, "window_epochs": 20, "max_epochs": 40}

CELLS = (
    Cell(
        "cifar-cnn",
        "the paper's CIFAR-10 CNN, SGD, α = 0.02",
        {
            "data": "cifar10", "network": "cifar-cnn", "learning_rate": 0.02, "select": "*.weight", "record_every": 10,
            "flatness_samples": 10_000, "max_epochs": 60,
        },
        {"data": "digits", **_QUICK_CNN},
        ("0.weight", "3.weight", "7.weight", "9.weight", "11.weight"), n_modes=100, seeds=1,
    ),
    Cell(
        "cifar-cnn-5000",
        "the paper's CIFAR-10 CNN, SGD, α = 0.05",
        {
            "data": "cifar10", "network": "cifar-cnn", "learning_rate": 0.05, "select": "*.weight",
            "train_samples": 5000, "max_epochs": 300,
        },
        {"data": "digits", "train_samples": 500, **_QUICK_CNN, "window_epochs": 60},
        ("0.weight", "3.weight", "7.weight", "9.weight", "11.weight"), n_modes=100, seeds=1,
    ),
    Cell(
        "mnist-cnn",
        "the paper's MNIST CNN, SGD",
        {"network": "mnist-cnn", "select": "*.weight", "record_every": 5, "flatness_samples": 5_000},
        _QUICK_CNN,
        ("0.weight", "3.weight", "7.weight"), n_modes=100, seeds=1,
    ),
    Cell(
        "residual",
        "residual network, SGD, statistics of BatchNorm kept",
        {"network": "residual", "train_samples": 12_000, "flatness_samples": 2_000},
        {"train_samples": None, **_QUICK_CNN},
        ("stages.0.conv1.weight",), n_modes=100, seeds=2,
    ),
    Cell(
        "residual-re-estimated",
        "the same, statistics re-estimated at every point",
        layers=("stages.0.conv1.weight",), n_modes=40, seeds=2, run="residual", batch_norm="re-estimated",
    ),
    Cell("sgd", "MLP, SGD"),
    Cell("sgd-B100", "MLP, SGD, B = 100", {"batch_size": 100}),
    Cell("sgd-alpha0.2", "MLP, SGD, α = 0.2", {"learning_rate": 0.2}),
    Cell("momentum", "MLP, momentum 0.9, α = 0.01", {"momentum": 0.9, "learning_rate": 0.01}),
    Cell(
        "nesterov", "MLP, Nesterov momentum 0.9, α = 0.01",
        {"momentum": 0.9, "nesterov": True, "learning_rate": 0.01},
    ),
    Cell("adam", "MLP, Adam, α = 0.001", {"optimizer": "adam", "learning_rate": 1e-3}),
    Cell(
        "adam-preconditioned", "the same in Adam's preconditioned coordinates", run="adam", preconditioned=True,
        layers=("2.weight",),
    ),
    Cell("mse", "MLP, SGD, squared error", {"loss": "mse", "max_epochs": 100}),
    Cell("label-noise", "MLP, SGD, 10 % label noise", {"label_noise": 0.1, "max_epochs": 100}),
    Cell(
        "mlp-3", "MLP with 3 hidden layers, SGD", {"hidden": (50, 50, 50), "select": "[24].weight"},
        layers=("2.weight", "4.weight"), n_modes=200,
    ),
    Cell(
        "mlp-4", "MLP with 4 hidden layers, SGD", {"hidden": (50, 50, 50, 50), "select": "[246].weight"},
        layers=("2.weight", "4.weight", "6.weight"), n_modes=200,
    ),
    Cell(
        "gpt2", "tiny GPT-2, Adam", _SEQUENCES, n_modes=100,
        layers=("transformer.h.0.mlp.c_fc.weight",),
    ),
)  # fmt: skip
"""Those that take longest first, so that processes side by side end together."""


def settings_of(cell: Cell, plan: Plan, seed: int) -> Settings:
    """Settings of a run of a cell, or of the cell whose runs it takes."""
    owner = next(other for other in CELLS if other.key == (cell.run or cell.key))
    return plan.settings_with(**{**owner.changes, **(owner.quick if plan.quick else {}), "seed": seed})
