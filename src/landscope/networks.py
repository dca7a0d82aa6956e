"""The paper's networks: multilayer perceptrons and two convolutional networks (Methods)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import nn

from landscope._checks import check_count
from landscope.errors import InputError

__all__ = ["cifar_cnn", "mlp", "mnist_cnn"]


def mlp(sizes: Sequence[int], *, bias: bool = False, seed: int | None = None) -> nn.Sequential:
    """A multilayer perceptron with ReLU between layers; the paper's is ``mlp([784, 50, 50, 10])``, no bias.

    Parameters are named ``"0.weight"``, ``"2.weight"``, ... in order. Inputs are rows ``[b, sizes[0]]``.

    Args:
        sizes: Widths of all layers, inputs and outputs included.
        bias: Give each layer a bias.
        seed: Seed of PyTorch's default initialisation; the global random state by default.

    Returns:
        The network.

    Raises:
        InputError: If there are fewer than two sizes or one is below 1.

    Example:
        >>> [tuple(p.shape) for p in mlp([784, 50, 50, 10], seed=0).parameters()]
        [(50, 784), (50, 50), (10, 50)]
    """
    if len(sizes) < 2:
        raise InputError(expected="at least two sizes", got=f"{list(sizes)}", hint="Pass [inputs, ..., outputs].")
    for size in sizes:
        check_count("each size", size, minimum=1)

    def build() -> nn.Sequential:
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(sizes):
            layers += [nn.Linear(inputs, outputs, bias=bias), nn.ReLU()]
        return nn.Sequential(*layers[:-1])

    return _seeded(build, seed)


def mnist_cnn(*, seed: int | None = None) -> nn.Sequential:
    """The paper's CNN for 1x28x28 images: 3x3x16 and 5x5x32 convolutions, each pooled, then 1,568x10; no bias.

    Args:
        seed: Seed of the initialisation; the global random state by default.

    Returns:
        The network.

    Example:
        >>> mnist_cnn(seed=0)(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def build() -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 5, padding=2, bias=False), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(1568, 10, bias=False),
        )  # fmt: skip

    return _seeded(build, seed)


def cifar_cnn(*, seed: int | None = None) -> nn.Sequential:
    """The paper's CNN for 3x32x32 images: two 5x5 convolutions, pooled, and three linear layers; no bias.

    Args:
        seed: Seed of the initialisation; the global random state by default.

    Returns:
        The network.

    Example:
        >>> cifar_cnn(seed=0)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def build() -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(3, 6, 5, bias=False), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5, bias=False), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(400, 120, bias=False), nn.ReLU(),
            nn.Linear(120, 84, bias=False), nn.ReLU(), nn.Linear(84, 10, bias=False),
        )  # fmt: skip

    return _seeded(build, seed)


def _seeded(build: Callable[[], nn.Sequential], seed: int | None) -> nn.Sequential:
    if seed is None:
        return build()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()
