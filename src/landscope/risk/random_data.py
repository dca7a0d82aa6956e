"""A warning where a data set gives other samples each time that it is read."""

from __future__ import annotations

import copy
import inspect
import random
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from landscope.errors import LandscopeWarning
from landscope.notices import warn
from landscope.seeded import seeded

__all__ = ["warn_of_random_samples", "with_own_state"]

_FEW_PARTS = 64
_READ = 8
"""Samples that are read twice: a flip with probability 1/2 leaves all of them as they are in one of 256 cases."""
_GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)


def warn_of_random_samples(data: Any) -> None:
    """Say that the landscape belongs to one draw of the data, if a sample read twice differs."""
    samples = data.dataset if isinstance(data, DataLoader) else data
    if not isinstance(samples, Dataset) or isinstance(samples, IterableDataset | TensorDataset):
        return
    try:
        with seeded(0):
            own = with_own_state(samples)
            differ = any(not _are_same(own[row], own[row]) for row in range(min(_READ, len(own))))
    except Exception:  # noqa: BLE001 - a data set with other indices, or samples that cannot be compared
        return
    if differ:
        warn(
            "The data set gives another sample each time that it is read, as random augmentation does. landscope has "
            "read every sample once: the landscape is that of this one draw. For the landscape without augmentation, "
            "pass a data set without random transforms.",
            LandscopeWarning,
        )


def _are_same(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return first.shape == second.shape and torch.allclose(first, second, rtol=0, atol=0, equal_nan=True)
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(_are_same(part, second[name]) for name, part in first.items())
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(_are_same, first, second))
    if isinstance(first, np.ndarray | np.generic):
        return bool(np.array_equal(first, second, equal_nan=np.issubdtype(first.dtype, np.floating)))
    # Objects without a comparison of their own are two objects, not two draws.
    return type(first).__eq__ is object.__eq__ or bool(first == second)


def with_own_state(value: Any) -> Any:
    """A copy with random generators and attributes of its own, also in the data sets and transforms that it holds.

    Tensors and other contents are shared. So an augmentation draws what it would have drawn, and a file that a data set
    opens when it is first read is not handed to worker processes.
    """
    if isinstance(value, torch.Generator):
        return value.clone_state()
    if isinstance(value, _GENERATORS):
        return copy.deepcopy(value)
    if inspect.ismethod(value):
        return types.MethodType(value.__func__, with_own_state(value.__self__))
    if type(value) in (list, tuple) and len(value) <= _FEW_PARTS:
        return type(value)(map(with_own_state, value))
    if isinstance(value, Dataset) or (callable(value) and hasattr(value, "__dict__") and not _is_code(value)):
        own = copy.copy(value)
        vars(own).update({name: with_own_state(part) for name, part in vars(value).items()})
        return own
    return value


def _is_code(value: Any) -> bool:
    return inspect.isroutine(value) or isinstance(value, type)
