"""Published protocols of continual learning: their tasks, networks, trainings, methods and numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from landscope._checks import generator_of
from landscope.reproduction.experiment.experiment import Experiment
from landscope.reproduction.experiment.networks import mlp
from landscope.reproduction.sequential.methods import MethodSettings
from landscope.reproduction.sequential.scenarios import (
    Kind,
    growing_outputs,
    n_outputs,
    permuted_scenario,
    split_scenario,
)
from landscope.reproduction.sequential.task_data import Labelled, SelectedOutputs, Task
from landscope.reproduction.sequential.training import TaskTraining

__all__ = ["PROTOCOLS", "PublishedProtocol", "Row"]

Row = tuple[MethodSettings, str]
"""A method at its strength, and the published accuracy in percent; empty where there is none."""


@dataclasses.dataclass(frozen=True)
class PublishedProtocol:
    """A protocol with its published numbers, and the methods that are run in it.

    Args:
        key: Key of its runs.
        name: Name for a table.
        kind: Kind of the split; ``"permuted"`` for ten orders of the inputs.
        hidden: Widths of the hidden layers.
        training: How each task is learnt.
        rows: Methods and published accuracies; the first one is the reference of differences.
        text: What is done, and other published numbers.
        activation: Class of the modules between layers.
        grows: Whether a task trains only the outputs of its classes and earlier ones.
        shuffles: Whether the order of the classes is random, another in each seed.
        padding: Pixels around the image.
        scale: Mean and standard deviation of a pixel, by which inputs are normalised.
        n_tasks: Number of orders of the inputs.
    """

    key: str
    name: str
    kind: Kind | Literal["permuted"]
    hidden: tuple[int, ...]
    training: TaskTraining
    rows: Sequence[Row]
    text: str
    activation: type[nn.Module] = nn.ReLU
    grows: bool = False
    shuffles: bool = False
    padding: int = 0
    scale: tuple[float, float] = (0.1307, 0.3081)
    n_tasks: int = 10

    @property
    def changes(self) -> Mapping[str, Any]:
        """Changes of the shared settings."""
        return {
            "hidden": self.hidden, "bias": True, "batch_size": self.training.batch_size,
            "learning_rate": self.training.learning_rate, "optimizer": self.training.optimizer_name,
        }  # fmt: skip

    def trained(self, seed: int) -> TaskTraining:
        """How each task is learnt with a seed."""
        return dataclasses.replace(self.training, seed=seed)

    def inputs(self, images: Float[Tensor, "M pixels"], shape: Sequence[int]) -> Float[Tensor, "M inputs"]:
        """Images, given as rows, with their border, normalised."""
        mean, deviation = self.scale
        padded = F.pad(images.view(-1, *shape), (self.padding,) * 4)
        return ((padded - mean) / deviation).flatten(1)

    def tasks(self, experiment: Experiment, seed: int) -> list[Task]:
        """The tasks of a seed."""
        shape = experiment.data.train_inputs.shape[1:]

        def normalised(data: Labelled) -> Labelled:
            return self.inputs(data[0].flatten(1), shape), data[1]

        train, test = normalised(experiment.train_data), normalised(experiment.test_data)
        if self.kind == "permuted":
            return permuted_scenario(train, test, self.n_tasks, seed)
        classes = torch.arange(10)
        if self.shuffles:
            classes = torch.randperm(10, generator=generator_of(seed))
        tasks = split_scenario(train, test, [tuple(pair) for pair in classes.view(-1, 2).tolist()], self.kind)
        return growing_outputs(tasks) if self.grows else tasks

    def network(self, tasks: Sequence[Task], seed: int) -> SelectedOutputs:
        """The network with its initial weights."""
        sizes = [math.prod(tasks[0].train[0].shape[1:]), *self.hidden, n_outputs(tasks)]
        return SelectedOutputs(mlp(sizes, bias=True, seed=seed, activation=self.activation))


_RANK = 100
"""Kronecker products of all tasks are merged to the nearest one."""
_NONE, _REPLAY = MethodSettings("none"), MethodSettings("replay")
_HSU_TRAINING = TaskTraining(epochs=4, window_epochs=0, batch_size=128, learning_rate=1e-3, optimizer_name="adam")


def _hsu(kind: Kind, strength: float, published: Mapping[str, str], others: str) -> PublishedProtocol:
    """Split MNIST of Hsu et al., with the strength of their EWC."""
    rows = [
        (MethodSettings("ewc-likely", 2 * strength), published["EWC"]),
        (_NONE, published["Adam"]),
        (MethodSettings("kfac", 2 * strength, rank=_RANK, added=True), ""),
        (MethodSettings("basin-fixed", 1.0, added=True), ""),
        (MethodSettings("basin-default", 1.0), ""),
        (_REPLAY, published["naive rehearsal"]),
    ]
    text = (
        "Hsu et al. (arXiv 1810.12488, Table 2, ten runs): two hidden layers of 400 on images of 32 x 32, four epochs "
        "of minibatches of 128 a task, Adam at 0.001. Penalties are added to the loss, as there, but for the default "
        "of the basin: implicit steps whose strength follows the outputs. EWC has their "
        f"coefficient, {strength:g} (λ/2); Kronecker EWC has the same; nobody chose the strength of the basin. "
        f"Published and not run here: {others}."
    )
    return PublishedProtocol(
        f"published-hsu-{kind}", f"Split MNIST of Hsu et al., incremental {kind} learning", kind, (400, 400),
        _HSU_TRAINING, rows, text, grows=kind == "class", padding=2, scale=(0.1, 0.2752),
    )  # fmt: skip


_HSU = (
    _hsu(
        "task", 100.0, {"EWC": "97.70 ± 0.81", "Adam": "93.46 ± 2.01", "naive rehearsal": "99.40 ± 0.08"},
        "online EWC 98.04 ± 1.10, SI 98.56 ± 0.49, MAS 99.22 ± 0.21, LwF 99.60 ± 0.03, L2 98.18 ± 0.96, GEM 98.42 ± "
        "0.10, DGR 99.47 ± 0.03, RtF 99.66 ± 0.03, all tasks at once 99.52 ± 0.16",
    ),
    _hsu(
        "domain", 100.0, {"EWC": "58.85 ± 2.59", "Adam": "55.16 ± 1.38", "naive rehearsal": "95.16 ± 0.49"},
        "online EWC 57.33 ± 1.44, SI 64.76 ± 3.09, MAS 68.57 ± 6.85, LwF 71.02 ± 1.26, L2 66.00 ± 3.73, GEM 96.16 ± "
        "0.35, DGR 95.74 ± 0.23, RtF 97.31 ± 0.11, all tasks at once 98.59 ± 0.15",
    ),
    _hsu(
        "class", 600.0, {"EWC": "19.80 ± 0.05", "Adam": "19.71 ± 0.08", "naive rehearsal": "90.78 ± 0.85"},
        "online EWC 19.77 ± 0.04, SI 19.67 ± 0.09, MAS 19.52 ± 0.29, LwF 24.17 ± 0.33, L2 22.52 ± 1.08, GEM 92.20 ± "
        "0.12, DGR 91.24 ± 0.33, RtF 92.56 ± 0.21, all tasks at once 97.53 ± 0.30",
    ),
)  # fmt: skip
_SHORTER = 10
"""Factor by which the permuted tasks are learnt in fewer steps, each as many times as long."""
_AVALANCHE_LWF = PublishedProtocol(
    "published-avalanche-split", "Split MNIST of Avalanche's baselines, class-incremental", "class", (200,),
    TaskTraining(epochs=21, window_epochs=0, batch_size=128, learning_rate=1e-3),
    [
        (_NONE, ""), (MethodSettings("ewc", 1.0), ""), (MethodSettings("kfac", 1.0, rank=_RANK), ""),
        (MethodSettings("basin-fixed", 1.0), ""), (MethodSettings("basin-default", 1.0), ""), (_REPLAY, ""),
    ],
    "ContinualAI/continual-learning-baselines has a target for LwF, 23 (van de Ven & Tolias, arXiv 1904.07734: 23.85), "
    "and none for EWC: one hidden layer of 200 with tanh, 21 epochs of minibatches of 128 a task, plain SGD at 0.001, "
    "classes in random order, all ten outputs trained from the first task. Penalties are implicit steps; EWC at λ = 1. "
    "Other targets of the class-incremental split, of other protocols: generative replay 75, GSS 78 to 82, MIR 87, "
    "online replay 92, CoPE 93, GDumb 97.",
    activation=nn.Tanh, shuffles=True,
)  # fmt: skip
_AVALANCHE_EWC = PublishedProtocol(
    "published-avalanche-permuted", "Permuted MNIST of Avalanche's baselines, ten tasks", "permuted", (512,),
    TaskTraining(epochs=10 // _SHORTER, window_epochs=0, batch_size=256, learning_rate=_SHORTER * 1e-3),
    [
        (MethodSettings("ewc-batch-256", 2.0, added=True), "83"), (_NONE, ""),
        (MethodSettings("kfac", 1.0, rank=_RANK), ""), (MethodSettings("basin-fixed", 1.0), ""),
        (MethodSettings("basin-default", 1.0), ""),
    ],
    "ContinualAI/continual-learning-baselines: one hidden layer of 512, ten epochs of minibatches of 256 a task, plain "
    "SGD at 0.001, EWC with ewc_lambda = 1 (λ/2) and the mean squares of gradients of minibatches of 256. Here one "
    "epoch at 0.01: as much learning rate times steps. Other targets, of other protocols: SI 83, LFL 88, A-GEM 81, "
    "GEM 80 to 93.",
)  # fmt: skip
PROTOCOLS: Sequence[PublishedProtocol] = (*_HSU, _AVALANCHE_LWF, _AVALANCHE_EWC)
"""All protocols."""
