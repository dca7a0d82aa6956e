"""The cases of section S6: which network, optimiser, loss and data each of them is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from landscope._names import BatchNorm
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures.figure import Plan
from landscope.reproduction.figures.single_runs import run_name, standard_pair

__all__ = ["CASES", "Case"]


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the table, or one for each layer.

    Args:
        key: Short name, the first part of the names of its run folders; cases of the same key share their runs.
        title: Name in the table.
        changes: Settings that differ from the shared ones.
        quick: Further changes in a quick reproduction.
        layers: Layers to analyse one by one, all of them recorded; by default the selection as a whole.
        n_modes: Number of log-spaced modes to measure a layer along; by default all of the fitted range.
        preconditioned: Measure in the coordinates in which the optimiser takes plain steps.
        batch_norm: Statistics of batch normalisation on the landscape, kept or re-estimated at every point.
        seeds: Largest number of seeds, for cases that take long.
        standard: Whether its runs are those of the paper's own network, at some batch size and learning rate, which
            other figures share.
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
    standard: bool = False

    def n_seeds(self, plan: Plan) -> int:
        """Number of seeds of this case."""
        return min(plan.seeds, self.seeds or plan.seeds)

    def settings(self, plan: Plan, seed: int) -> Settings:
        """Settings of a run."""
        return plan.settings_with(**{**self.changes, **(self.quick if plan.quick else {}), "seed": seed})

    def run_name(self, plan: Plan, seed: int) -> str:
        """Name of a run."""
        if self.standard:
            return run_name(standard_pair(self.settings(plan, seed)), seed)
        return f"{self.key}-seed{seed}"


_SEQUENCES = {"data": "modular-addition", "network": "gpt2", "optimizer": "adam", "learning_rate": 1e-3}
_QUICK_CNN = {"record_every": 1, "flatness_samples": None, "window_epochs": 20, "max_epochs": 40}
_RESIDUAL = Case(
    "residual",
    "residual network, SGD, statistics of BatchNorm kept",
    {"network": "residual", "train_samples": 12_000, "flatness_samples": 2_000},
    {"train_samples": None, **_QUICK_CNN},
    ("stages.0.conv1.weight",),
    n_modes=100,
    seeds=2,
)
_ADAM = Case("adam", "MLP, Adam, α = 0.001", {"optimizer": "adam", "learning_rate": 1e-3})
CASES = (
    Case(
        "cifar-cnn",
        "the paper's CIFAR-10 CNN, SGD, α = 0.02",
        {
            "data": "cifar10", "network": "cifar-cnn", "learning_rate": 0.02, "select": "*.weight", "record_every": 10,
            "flatness_samples": 10_000, "max_epochs": 60,
        },
        {"data": "digits", **_QUICK_CNN},
        ("0.weight", "3.weight", "7.weight", "9.weight", "11.weight"), n_modes=100, seeds=1,
    ),
    Case(
        "cifar-cnn-5000",
        "the paper's CIFAR-10 CNN, SGD, α = 0.05",
        {
            "data": "cifar10", "network": "cifar-cnn", "learning_rate": 0.05, "select": "*.weight",
            "train_samples": 5000, "max_epochs": 300,
        },
        {"data": "digits", "train_samples": 500, **_QUICK_CNN, "window_epochs": 60},
        ("0.weight", "3.weight", "7.weight", "9.weight", "11.weight"), n_modes=100, seeds=1,
    ),
    Case(
        "mnist-cnn",
        "the paper's MNIST CNN, SGD",
        {"network": "mnist-cnn", "select": "*.weight", "record_every": 5, "flatness_samples": 5_000},
        _QUICK_CNN,
        ("0.weight", "3.weight", "7.weight"), n_modes=100, seeds=1,
    ),
    _RESIDUAL,
    dataclasses.replace(
        _RESIDUAL, title="the same, statistics re-estimated at every point", n_modes=40, batch_norm="re-estimated"
    ),
    Case("sgd", "MLP, SGD", standard=True),
    Case("sgd-B100", "MLP, SGD, B = 100", {"batch_size": 100}, standard=True),
    Case("sgd-alpha0.2", "MLP, SGD, α = 0.2", {"learning_rate": 0.2}, standard=True),
    Case("momentum", "MLP, momentum 0.9, α = 0.01", {"momentum": 0.9, "learning_rate": 0.01}),
    Case(
        "nesterov", "MLP, Nesterov momentum 0.9, α = 0.01",
        {"momentum": 0.9, "nesterov": True, "learning_rate": 0.01},
    ),
    _ADAM,
    dataclasses.replace(
        _ADAM, title="the same in Adam's preconditioned coordinates", preconditioned=True, layers=("2.weight",)
    ),
    Case("mse", "MLP, SGD, squared error", {"loss": "mse", "max_epochs": 100}),
    Case("label-noise", "MLP, SGD, 10 % label noise", {"label_noise": 0.1, "max_epochs": 100}),
    Case(
        "mlp-3", "MLP with 3 hidden layers, SGD", {"hidden": (50, 50, 50), "select": "[24].weight"},
        layers=("2.weight", "4.weight"), n_modes=200,
    ),
    Case(
        "mlp-4", "MLP with 4 hidden layers, SGD", {"hidden": (50, 50, 50, 50), "select": "[246].weight"},
        layers=("2.weight", "4.weight", "6.weight"), n_modes=200,
    ),
    Case(
        "gpt2", "tiny GPT-2, Adam", _SEQUENCES, n_modes=100,
        layers=("transformer.h.0.mlp.c_fc.weight",),
    ),
)  # fmt: skip
"""All cases; those that take longest come first, so that processes side by side end together."""
