"""The user's own model in eval mode for a while, and then as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

from torch import nn

from landscope.seeded import seeded

__all__ = ["in_eval_mode"]


@contextlib.contextmanager
def in_eval_mode(model: nn.Module) -> Generator[nn.Module]:
    """The user's own model in eval mode; the modes of its parts and all random states are then as they were.

    Every context draws the same random numbers, so that two measurements differ by the weights alone. The modes are
    set and given back as flags: methods ``train`` of the model, which may do more, are not called.

    Example:
        >>> model = nn.Dropout()
        >>> with in_eval_mode(model) as evaluated:
        ...     evaluated.training
        False
        >>> model.training
        True
    """
    modes = [(module, module.training) for module in model.modules()]
    with seeded(0):
        try:
            for module, _ in modes:
                module.training = False
            yield model
        finally:
            for module, training in modes:
                module.training = training
