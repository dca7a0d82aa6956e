"""Words that settings and code share, kept apart so that the command line can read them without loading torch."""

from typing import Literal

__all__ = ["Loss", "Network", "Optimizer", "Pretraining"]

Network = Literal["mlp", "mnist-cnn", "cifar-cnn", "residual", "gpt2"]
"""Networks that ``landscope run`` builds, see :mod:`landscope.reproduction.experiment.networks`."""


Optimizer = Literal["sgd", "adam"]
"""Optimisers that ``landscope run`` trains with."""


Loss = Literal["cross-entropy", "mse"]
"""Losses of a minibatch; mse is the squared distance of the outputs from the unit vector of the class."""


Pretraining = Literal["tasks", "all", "none"]
"""What frozen layers were trained on: the classes of the tasks, all classes; or nothing is frozen."""
