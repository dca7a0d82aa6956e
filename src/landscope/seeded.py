"""Calls of a user's functions draw the same random numbers every time, and leave the user's own as they were."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Generator

import numpy as np
import torch

__all__ = ["kept_random_state", "seeded"]


@contextlib.contextmanager
def kept_random_state() -> Generator[None]:
    """Restore the states of the generators of torch (on the CPU), Python and numpy afterwards.

    Example:
        >>> before = random.getstate()
        >>> with kept_random_state():
        ...     _ = random.random()
        >>> random.getstate() == before
        True
    """
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(cpu)


@contextlib.contextmanager
def seeded(seed: int) -> Generator[None]:
    """Seed the generators of torch, Python and numpy, and restore their states afterwards.

    A device that nobody has used yet is left alone: asking for its state would start it.

    Args:
        seed: The seed.

    Example:
        >>> torch.manual_seed(3)
        <torch._C.Generator object at 0x...>
        >>> with seeded(0):
        ...     first = torch.rand(1)
        >>> with seeded(0):
        ...     second = torch.rand(1)
        >>> first == second, torch.initial_seed()
        (tensor([True]), 3)
    """
    seed %= 2**32  # the largest that numpy takes
    with kept_random_state(), contextlib.ExitStack() as devices:
        for device in (torch.cuda, torch.xpu):
            if device.is_available() and device.is_initialized():
                devices.callback(device.set_rng_state_all, device.get_rng_state_all())
                device.manual_seed_all(seed)
        if torch.backends.mps.is_available():
            devices.callback(torch.mps.set_rng_state, torch.mps.get_rng_state())
            torch.mps.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed devices that are not restored
        yield
