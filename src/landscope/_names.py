"""Words that settings and code share, kept apart so that the command line can read them without loading torch."""

from typing import Literal

__all__ = ["BatchNorm", "Loss", "Network", "Optimizer", "Pretraining", "Sampling"]

Sampling = Literal["reshuffled", "shuffled-once", "fixed", "with-replacement"]
"""Orders of minibatches, see :class:`landscope.MinibatchOrder`."""

Network = Literal["mlp", "mnist-cnn", "cifar-cnn", "residual", "gpt2"]
"""Networks that ``landscope run`` builds, see :mod:`landscope.networks`."""

Optimizer = Literal["sgd", "adam"]
"""Optimisers that ``landscope run`` trains with."""

Loss = Literal["cross-entropy", "mse"]
"""Losses of a minibatch; mse is the squared distance of the outputs from the unit vector of the class."""

BatchNorm = Literal["kept", "re-estimated"]
"""Statistics of batch normalisation, see :class:`landscope.EmpiricalRisk`."""

Pretraining = Literal["tasks", "all", "none"]
"""What frozen layers were trained on: the classes of the tasks, all classes; or nothing is frozen."""
