"""Words that settings and code share, kept apart so that the command line can read them without loading torch."""

from typing import Literal

__all__ = ["Network", "Sampling"]

Sampling = Literal["reshuffled", "shuffled-once", "fixed", "with-replacement"]
"""Orders of minibatches, see :class:`landscope.MinibatchOrder`."""

Network = Literal["mlp", "mnist-cnn", "cifar-cnn"]
"""Networks that ``landscope run`` builds, see :mod:`landscope.networks`."""
