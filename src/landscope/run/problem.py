"""What a run trains: its data, its network, and the weights it watches."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from landscope.datasets import ImageData, load_images
from landscope.errors import InputError
from landscope.networks import cifar_cnn, mlp, mnist_cnn
from landscope.parameters import ParameterSpace
from landscope.risk import EmpiricalRisk
from landscope.sampling import MinibatchOrder
from landscope.settings import Settings

__all__ = ["Problem"]

_DEFAULT_SELECTION = {"mlp": "2.weight", "mnist-cnn": "3.weight", "cifar-cnn": "9.weight"}
_CNN_SHAPES = {"mnist-cnn": (1, 28, 28), "cifar-cnn": (3, 32, 32)}
_MIN_WINDOW_STEPS = 3000
_MIN_WINDOW_EPOCHS = 10


class Problem:
    """Builds the parts of a run from its settings, each once and when it is needed.

    Args:
        settings: What the run was asked for.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @functools.cached_property
    def images(self) -> ImageData:
        """The data set."""
        return load_images(self._settings.data)

    @property
    def train_data(self) -> tuple[Tensor, Tensor]:
        """Training images in the shape the network reads, and labels."""
        return self._shaped(self.images.train_images), self.images.train_labels

    @property
    def test_data(self) -> tuple[Tensor, Tensor]:
        """The same for testing."""
        return self._shaped(self.images.test_images), self.images.test_labels

    def _shaped(self, images: Tensor) -> Tensor:
        return images.flatten(1) if self._settings.network == "mlp" else images

    @property
    def order(self) -> MinibatchOrder:
        """The minibatches."""
        settings = self._settings
        return MinibatchOrder(len(self.images.train_labels), settings.batch_size, settings.sampling, settings.seed)

    @property
    def window_epochs(self) -> int:
        """Epochs of the window."""
        if self._settings.window_epochs is not None:
            return self._settings.window_epochs
        return max(_MIN_WINDOW_EPOCHS, -(-_MIN_WINDOW_STEPS // self.order.batches_per_epoch))

    def network(self) -> nn.Sequential:
        """The network with its initial weights."""
        settings, shape = self._settings, self.images.shape
        expected = _CNN_SHAPES.get(settings.network, shape)
        if shape != expected or (settings.network != "mlp" and self.images.n_classes > 10):
            raise InputError(
                expected=f"images of shape {expected} in at most 10 classes for {settings.network}",
                got=f"{shape} in {self.images.n_classes}",
                hint="Use --network mlp, which takes any.",
            )
        if settings.network == "mnist-cnn":
            return mnist_cnn(seed=settings.seed)
        if settings.network == "cifar-cnn":
            return cifar_cnn(seed=settings.seed)
        channels, height, width = shape
        sizes = [channels * height * width, *settings.hidden, self.images.n_classes]
        return mlp(sizes, bias=settings.bias, seed=settings.seed)

    @property
    def selection(self) -> str:
        """Which parameters are recorded."""
        return self._settings.select or _DEFAULT_SELECTION[self._settings.network]

    def risk(self, model: nn.Module) -> EmpiricalRisk:
        """The empirical risk of a trained network over the selected weights."""
        space = ParameterSpace.of(model, self.selection)
        return EmpiricalRisk(model, torch.nn.functional.cross_entropy, self.train_data, space=space)
