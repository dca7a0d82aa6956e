"""Values of settings; a module without torch, so that the command line starts quickly."""

from typing import Literal

__all__ = ["Loss", "Network", "Optimizer", "Pretraining"]

Network = Literal["mlp", "mnist-cnn", "cifar-cnn", "residual", "gpt2"]
"""Networks that ``landscope run`` builds, see :mod:`landscope.reproduction.experiment.networks`."""


Optimizer = Literal["sgd", "adam"]
"""Optimisers that ``landscope run`` trains with."""


Loss = Literal["cross-entropy", "mse"]
"""Losses of a minibatch; mse is the squared distance of the outputs from the unit vector of the class."""


Pretraining = Literal["tasks", "all", "none"]
"""Training data of frozen layers: the classes of the tasks, or all classes; none freezes nothing."""
