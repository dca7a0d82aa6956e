"""A few samples of the data of a training, taken so that the training that follows stays the same to the bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    default_collate,
)

from landscope.risk.data import is_pair_of_tensors
from landscope.risk.random_data import with_own_state

__all__ = ["first_samples", "is_stream"]

_COUNT = 16


def first_samples(data: Any, *, collated: bool) -> Any | None:
    """The first samples of the data as data of the same form; None where taking them could change the training.

    No worker process starts, no sampler is asked, and a data set is read through a copy that has random generators and
    attributes of its own. Streams are left alone. Call it where the global random states are restored afterwards.

    Args:
        data: The data of a study.
        collated: Whether the samples of a data set make a batch, or each is one.

    Example:
        >>> import torch
        >>> inputs, targets = torch.randn(100, 4), torch.arange(100)
        >>> [part.shape for part in first_samples((inputs, targets), collated=True)]
        [torch.Size([16, 4]), torch.Size([16])]
    """
    if is_pair_of_tensors(data):
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
    batches = loader.batch_sampler  # a Trainer makes its own, and the loader then has no batch size
    if type(batches) is not BatchSampler or not isinstance(batches.sampler, RandomSampler | SequentialSampler):
        return None  # what its indices are is not known
    return _batch(loader.dataset, with_own_state(loader.collate_fn), min(_COUNT, batches.batch_size))


def is_stream(samples: Any) -> bool:
    """Whether the samples cannot be read by their number."""
    return isinstance(samples, IterableDataset) or not hasattr(samples, "__len__")


def _batch(samples: Any, collate: Any, count: int) -> list[Any] | None:
    if is_stream(samples) or not len(samples):
        return None
    own = with_own_state(samples)
    return [collate([own[row] for row in range(min(count, len(own)))])]


def _only(samples: list[Any]) -> Any:
    (sample,) = samples
    return sample
