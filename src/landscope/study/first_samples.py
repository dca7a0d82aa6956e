"""A few samples of the data of a training, taken so that the training that follows stays the same to the bit."""

from __future__ import annotations

import copy
import inspect
import random
import types
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, SequentialSampler, default_collate

__all__ = ["first_samples"]

_COUNT = 16
_FEW_PARTS = 64
_GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)


def first_samples(data: Any, *, collated: bool) -> Any | None:
    """The first samples of the data as data of the same form; None where taking them could change the training.

    No worker process starts, no sampler is asked, and a data set is read through a copy that has random generators and
    attributes of its own. Streams are left alone. Call it where the global random states are restored afterwards.

    Args:
        data: The data of a study.
        collated: Whether the samples of a data set make a batch, or each is one.

    Example:
        >>> inputs, targets = torch.randn(100, 4), torch.arange(100)
        >>> [part.shape for part in first_samples((inputs, targets), collated=True)]
        [torch.Size([16, 4]), torch.Size([16])]
    """
    if isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(part, Tensor) for part in data):
        return tuple(part[:_COUNT] for part in data)
    try:
        if isinstance(data, DataLoader):
            return _of_loader(data)
        if isinstance(data, Dataset):
            return _batch(data, default_collate, _COUNT) if collated else _batch(data, _only, 1)
    except Exception:  # noqa: BLE001 - a data set of another kind; the training reads it in its own way
        return None
    return [data[0]] if isinstance(data, Sequence) and len(data) else None


def _of_loader(loader: DataLoader) -> list[Any] | None:
    if loader.batch_size is None or not isinstance(loader.sampler, RandomSampler | SequentialSampler):
        return None  # what its indices are is not known
    return _batch(loader.dataset, _with_own_state(loader.collate_fn), min(_COUNT, loader.batch_size))


def _batch(samples: Any, collate: Any, count: int) -> list[Any] | None:
    if isinstance(samples, IterableDataset) or not hasattr(samples, "__len__") or not len(samples):
        return None
    own = _with_own_state(samples)
    return [collate([own[row] for row in range(min(count, len(own)))])]


def _only(samples: list[Any]) -> Any:
    (sample,) = samples
    return sample


def _with_own_state(value: Any) -> Any:
    """A copy with random generators and attributes of its own, also in the data sets and transforms that it holds.

    Tensors and other contents are shared. So an augmentation draws what it would have drawn, and a file that a data set
    opens when it is first read is not handed to worker processes.
    """
    if isinstance(value, torch.Generator):
        return value.clone_state()
    if isinstance(value, _GENERATORS):
        return copy.deepcopy(value)
    if inspect.ismethod(value):
        return types.MethodType(value.__func__, _with_own_state(value.__self__))
    if type(value) in (list, tuple) and len(value) <= _FEW_PARTS:
        return type(value)(map(_with_own_state, value))
    if isinstance(value, Dataset) or (callable(value) and hasattr(value, "__dict__") and not _is_code(value)):
        own = copy.copy(value)
        vars(own).update({name: _with_own_state(part) for name, part in vars(value).items()})
        return own
    return value


def _is_code(value: Any) -> bool:
    return inspect.isroutine(value) or isinstance(value, type)
