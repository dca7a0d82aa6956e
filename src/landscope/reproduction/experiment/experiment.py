"""The parts of a training: its data, network, optimiser, and recorded weights."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from landscope.errors import InputError
from landscope.parameters import ParameterSpace
from landscope.reproduction.experiment.datasets.labelled import LabelledData
from landscope.reproduction.experiment.datasets.loading import load_data
from landscope.reproduction.experiment.networks import cifar_cnn, gpt2, mlp, mnist_cnn, residual_network
from landscope.reproduction.experiment.settings import Loss, Settings
from landscope.risk.empirical import EmpiricalRisk
from landscope.sampling import MinibatchOrder
from landscope.study.checkpoints import load_model
from landscope.wording import first_lines

__all__ = ["Experiment", "squared_distance"]

_DEFAULT_SELECTION = {
    "mlp": "2.weight",
    "mnist-cnn": "3.weight",
    "cifar-cnn": "9.weight",
    "residual": "stages.0.conv1.weight",
    "gpt2": "transformer.h.0.mlp.c_fc.weight",
}
_SMALLEST_SIDE = {"mnist-cnn": 4, "cifar-cnn": 16, "residual": 8}
_SMALL_NETWORKS = ("mlp", "gpt2")
_MIN_WINDOW_STEPS = 3000
_MIN_WINDOW_EPOCHS = 10
_LABEL_NOISE = 1


def squared_distance(outputs: Float[Tensor, "b classes"], labels: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    r"""Squared distance of the outputs from the unit vector of the right class, :math:`\sum_j (y_j - \delta_{jz})^2`.

    The sum over classes, not their mean: at the paper's learning rate its steps are then of the size that
    cross-entropy makes.

    Example:
        >>> squared_distance(torch.tensor([[0.5, 0.5]]), torch.tensor([0])).tolist()
        [0.5]
    """
    right = F.one_hot(labels, outputs.shape[1]).to(outputs)
    return (outputs - right).square().sum(dim=1)


_CRITERIA: dict[Loss, Callable[[Tensor, Tensor], Tensor]] = {"cross-entropy": F.cross_entropy, "mse": squared_distance}


class Experiment:
    """The parts of a training, each built from the settings when it is needed.

    Args:
        settings: Settings of the training.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @functools.cached_property
    def data(self) -> LabelledData:
        """The whole data set."""
        data = load_data(self.settings.data)
        if (self.settings.network == "gpt2") != bool(data.vocabulary):
            raise InputError(
                expected="sequences of tokens for gpt2, images for the other networks",
                got=f"{data.name} for {self.settings.network}",
                hint="For example landscope run --data modular-addition --network gpt2.",
            )
        return data

    @functools.cached_property
    def device(self) -> torch.device:
        """The device that computes."""
        try:
            device = torch.device(self.settings.device)
            torch.empty(1, device=device)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise InputError(
                expected="a device that torch can use here",
                got=f"{self.settings.device} ({first_lines(error)})",
                hint="Leave --device out to use the processor.",
            ) from error
        return device

    @functools.cached_property
    def train_data(self) -> tuple[Tensor, Tensor]:
        """Training inputs in the shape that the network takes, and labels."""
        inputs, labels = self._inputs("train"), self.data.train_labels
        count = self.settings.train_samples
        if count is not None:
            if count > len(labels):
                raise InputError(
                    expected=f"train_samples of at most {len(labels)}", got=f"{count}", hint="Leave it out for all."
                )
            chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:count]
            inputs, labels = inputs[chosen], labels[chosen]
        return inputs.to(self.device), self._noisy(labels).to(self.device)

    @functools.cached_property
    def test_data(self) -> tuple[Tensor, Tensor]:
        """Test inputs and labels."""
        return self._inputs("test").to(self.device), self.data.test_labels.to(self.device)

    @property
    def landscape_data(self) -> tuple[Tensor, Tensor]:
        """The training data that the landscape is measured on."""
        inputs, labels = self.train_data
        count = self.settings.flatness_samples
        return inputs[:count], labels[:count]

    def _inputs(self, part: str) -> Tensor:
        data = self.data
        inputs = data.train_inputs if part == "train" else data.test_inputs
        if data.vocabulary:
            return inputs
        if self.settings.network == "mlp":
            return inputs.flatten(1)
        times = self._enlargement
        return inputs.repeat_interleave(times, 2).repeat_interleave(times, 3) if times > 1 else inputs

    @property
    def _enlargement(self) -> int:
        """Whole factor by which images too small for the network are enlarged."""
        return -(-_SMALLEST_SIDE[self.settings.network] // min(self.data.train_inputs.shape[2:]))

    def _noisy(self, labels: Tensor) -> Tensor:
        """The labels, some of them replaced by another class."""
        count = round(self.settings.label_noise * len(labels))
        if count == 0:
            return labels
        random = np.random.default_rng(_LABEL_NOISE)  # the same labels in every run
        which = torch.from_numpy(random.permutation(len(labels))[:count])
        shift = torch.from_numpy(random.integers(1, self.data.n_classes, count))
        return labels.index_copy(0, which, (labels[which] + shift) % self.data.n_classes)

    @property
    def order(self) -> MinibatchOrder:
        """The minibatches."""
        settings = self.settings
        samples = settings.train_samples or len(self.data.train_labels)
        return MinibatchOrder(samples, settings.batch_size, settings.sampling, settings.seed)

    @property
    def window_epochs(self) -> int:
        """Epochs of the window."""
        if self.settings.window_epochs is not None:
            return self.settings.window_epochs
        return max(_MIN_WINDOW_EPOCHS, -(-_MIN_WINDOW_STEPS // self.order.batches_per_epoch))

    @property
    def criterion(self) -> Callable[[Tensor, Tensor], Tensor]:
        """The loss: of each sample, or their mean."""
        return _CRITERIA[self.settings.loss]

    @property
    def is_small(self) -> bool:
        """Whether its operations are too small for several threads."""
        return self.settings.network in _SMALL_NETWORKS and self.device.type == "cpu"

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimiser of a model."""
        settings = self.settings
        if settings.optimizer == "adam":
            return torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
        return torch.optim.SGD(
            model.parameters(), lr=settings.learning_rate, momentum=settings.momentum, nesterov=settings.nesterov
        )

    def network(self) -> nn.Module:
        """The network with its initial weights."""
        model = self.unloaded_network()
        if self.settings.initial is not None:
            load_model(Path(self.settings.initial), model)
        return model

    def unloaded_network(self) -> nn.Module:
        """The network, for weights that are loaded later: the file of initial weights is not needed."""
        model = self._new_network()
        if self.settings.equal_norm:
            _give_expected_norms(model)
        return model.to(self.device)

    def _new_network(self) -> nn.Module:
        settings, data = self.settings, self.data
        if data.vocabulary:
            return gpt2(len(data.vocabulary), data.train_inputs.shape[1], data.n_classes, seed=settings.seed)
        channels, height, width = data.train_inputs.shape[1:]
        if settings.network == "mlp":
            sizes = [channels * height * width, *settings.hidden, data.n_classes]
            return mlp(sizes, bias=settings.bias, seed=settings.seed)
        shape = (channels, height * self._enlargement, width * self._enlargement)
        build = {"mnist-cnn": mnist_cnn, "cifar-cnn": cifar_cnn, "residual": residual_network}[settings.network]
        return build(shape, data.n_classes, seed=settings.seed)

    @property
    def selection(self) -> str:
        """Which parameters are recorded."""
        return self.settings.select or _DEFAULT_SELECTION[self.settings.network]

    def risk(self, model: nn.Module) -> EmpiricalRisk:
        """The empirical risk of a trained network over the selected weights."""
        space = ParameterSpace.of(model, self.selection)
        return EmpiricalRisk(model, self.criterion, self.landscape_data, space=space)

    def whole_risk(self, model: nn.Module) -> EmpiricalRisk:
        """The empirical risk over all weights and all training data."""
        return EmpiricalRisk(model, self.criterion, self.train_data, space=ParameterSpace.of(model))


@torch.no_grad()
def _give_expected_norms(model: nn.Module) -> None:
    """Scale each weight matrix to the norm that torch's default, uniform in +-1/sqrt(inputs), has on average."""
    for tensor in model.parameters():
        if tensor.ndim > 1:
            inputs = tensor[0].numel()
            expected = (tensor.numel() / (3 * inputs)) ** 0.5
            tensor *= expected / torch.linalg.vector_norm(tensor)
